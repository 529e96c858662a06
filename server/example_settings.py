"""Writes the annotated settings file from the settings model: every key, its meaning, its default."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from server.config import Settings

_WIDTH: Final = 110
_HEAD: Final = """\
# Settings of Landline. Every key is optional; what stands here after the # is the default.
#
# Landline reads the first of: the file given with --config, the one named by LANDLINE_CONFIG, ./landline.yaml,
# ~/.config/landline/landline.yaml. Each key can also be set in the environment, sections separated by two
# underscores: LANDLINE_SIP__PORT=5070. A key that is not known is an error.
"""


def example_yaml() -> str:
    """Return the file's text."""
    lines = [_HEAD.rstrip()]
    for name, field in Settings.model_fields.items():
        lines.append("")
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += _comment((section.__doc__ or "").strip(), "")
            lines.append(f"{name}:")
            for key, inner in section.model_fields.items():
                lines += _comment(inner.description or "", "  ")
                lines.append(f"  # {key}: {_default(inner)}")
        else:
            lines += _comment(field.description or "", "")
            lines.append(f"# {name}: {_default(field)}")
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str) -> list[str]:
    plain = " ".join(text.replace("``", "`").split())
    return textwrap.wrap(plain, _WIDTH, initial_indent=f"{indent}## ", subsequent_indent=f"{indent}## ")


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if field.default_factory is not None or value is PydanticUndefined or value is None:
        return ""
    if isinstance(value, SecretStr):
        return '""'
    if field.annotation is not None and hasattr(value, "parts"):
        # A path inside the installation differs from machine to machine.
        return ""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("...\n").strip()
