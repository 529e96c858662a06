"""Reads a YAML mapping and remembers on which line each key stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from server.errors import ConfigurationError

Lines = Mapping[tuple[str, ...], int]


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """Return the file's content and the line of each key path.

    Raises :class:`server.errors.ConfigurationError` with file and line when it cannot be read, is no YAML,
    is no mapping, or names a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}; expected a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8 text; expected a YAML file") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "malformed"
        raise ConfigurationError(f"{path}{place}: not YAML: {problem}") from None
    if root is None:
        return {}, {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(f"{path}, line {root.start_mark.line + 1}: expected `key: value` lines")
    lines: dict[tuple[str, ...], int] = {}
    _collect(path, root, (), lines)
    return values, lines


def _collect(path: Path, node: yaml.Node, key: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            inner = (*key, str(name.value))
            line = name.start_mark.line + 1
            if inner in lines:
                raise ConfigurationError(
                    f"{path}, line {line}: key {'.'.join(inner)} stands twice; first on line {lines[inner]}"
                )
            lines[inner] = line
            _collect(path, value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key, str(index))] = value.start_mark.line + 1
            _collect(path, value, (*key, str(index)), lines)
