"""Reads a process's configuration: one JSON file into one plain dataclass, or an error that says what was expected."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sip.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def read_file(path: str, kind: type[T]) -> T:
    """Read the JSON file at ``path``; raises :class:`sip.errors.ConfigurationError`."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); expected a JSON file"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}; expected one JSON object") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}: {type(data).__name__}; expected one JSON object")
    try:
        return read_mapping(data, kind)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def read_mapping(data: dict[str, object], kind: type[T]) -> T:
    """Return the configuration of a JSON object; raises :class:`sip.errors.ConfigurationError`."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ConfigurationError(f"unknown key {unknown[0]!r}; expected one of {', '.join(sorted(fields))}")
    if "run_directory" not in data:
        raise ConfigurationError("run_directory is missing; expected a directory")
    # Annotations are strings here: postponed evaluation.
    values = {name: _typed(name, value, str(fields[name].type)) for name, value in data.items()}
    return kind(**values)


def _typed(name: str, value: object, kind: str) -> object:
    match kind:
        case "str" if isinstance(value, str):
            return value
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    expected = {"str": "a string", "int": "a whole number", "float": "a number"}[kind]
    raise ConfigurationError(f"{name} is {value!r}; expected {expected}")


def expect(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise :class:`sip.errors.ConfigurationError` unless a rule holds."""
    if not holds:
        raise ConfigurationError(f"{name} is {value!r}; expected {expected}")


def is_numeric_address(text: str) -> bool:
    """Return whether the text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
