"""Fails when a test run, as its JUnit file tells it, skipped anything or ran nothing."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def skipped(report: Path) -> tuple[int, list[str]]:
    """Return how many tests ran, and the names of those that were skipped."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    names = [
        f"{case.get('classname')}.{case.get('name')}" for case in cases if case.find("skipped") is not None
    ]
    return len(cases) - len(names), names


def main() -> int:
    """Return 0 when everything ran."""
    ran, names = skipped(Path(sys.argv[1]))
    for name in names:
        print(f"skipped: {name}")
    print(f"{ran} tests ran, {len(names)} were skipped")
    return 1 if names or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
