"""Tests that need a peer which is not installed are skipped by the name of its Debian package; CI allows no skip."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "sip-tester": lambda: shutil.which("sipp") is not None,
    "baresip-core": lambda: shutil.which("baresip") is not None,
    "pocketsphinx-testdata": lambda: Path("/usr/share/pocketsphinx/test/data").is_dir(),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a missing package."""
    for item in items:
        for marker in item.iter_markers("package"):
            (package,) = marker.args
            if not PACKAGES[package]():
                item.add_marker(pytest.mark.skip(reason=f"apt package {package} is missing"))
