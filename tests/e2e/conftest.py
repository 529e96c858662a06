"""One whole Landline for all end-to-end tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.stack import Stack, running

HANDOFF_TARGET = "sip:desk@127.0.0.1:5999"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running clinic with a person to hand over to."""
    directory: Path = tmp_path_factory.mktemp("landline")
    with running(directory, LANDLINE_SIP__HANDOFF_TARGET=HANDOFF_TARGET) as started:
        yield started
