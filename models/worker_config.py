"""Configurations of the worker processes, as plain dataclasses, and how they are read from one JSON file.

Standard library only, because the Piper worker imports this from an environment of its own.
"""

from __future__ import annotations

import json
import types
import typing
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from models.errors import WorkerConfigError


@dataclass(frozen=True, slots=True)
class SpeechWorkerConfig:
    """Configuration of ``python -m models.speech_worker``."""

    socket: Path
    stt_path: Path
    """Folder of a CTranslate2 Whisper model."""
    embedding_path: Path | None = None
    """Folder of a sentence-transformers model; without one ``embed`` is refused."""
    stt_name: str = ""
    """Name in the catalogue; its checksums are verified at start. Empty: a model of the owner's own."""
    embedding_name: str = ""
    turn_path: Path | None = None
    """``.onnx`` file of a Smart Turn 3 model; without one ``turn_score`` is refused."""
    turn_name: str = ""
    device: str = "cpu"
    compute_type: str = "int8"
    language: str = "en"
    threads: int = 2
    queue_limit: int = 16
    batch_limit: int = 4
    """Waiting utterances decoded in one run."""
    nice: int = 5
    """Added to the process's niceness: media and dialogue go first."""
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class PiperWorkerConfig:
    """Configuration of ``python -m models.piper_worker``."""

    socket: Path
    voice_path: Path
    """``.onnx`` file; its ``.onnx.json`` beside it."""
    voice_name: str = ""
    """Name in the catalogue; its checksums are verified at start. Empty: a voice of the owner's own."""
    voices: dict[str, str] | None = None
    """Further voices: name → ``.onnx`` file."""
    threads: int = 2
    queue_limit: int = 32
    length_scale: float = 0.0
    """Slower above 1; 0 takes the voice's own."""
    nice: int = 5
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class LlmServerConfig:
    """Configuration of ``python -m models.llm_server``."""

    model_path: Path
    port: int
    """Loopback TCP port; 0 takes a free one, which is told in ``ready_file``."""
    model_name: str = ""
    """Name in the catalogue; its checksums are verified at start. Empty: a model of the owner's own."""
    ready_file: Path | None = None
    """Written once the server is warm: JSON with ``port``, ``slots`` and ``model``; gone when it ends."""
    state_directory: Path | None = None
    """Keeps the warm prefixes on disk, so that the next start needs no prefill."""
    host: str = "127.0.0.1"
    threads: int = 2
    slots: int = 2
    context_tokens: int = 4096
    """Of one slot."""
    micro_batch_tokens: int = 16
    """Tokens of prefill after which a cancel is noticed."""
    gpu_layers: int = 0
    warm_prefixes: tuple[str, ...] = ()
    """System messages to be prefilled before the server counts as ready."""
    nice: int = 5
    log_level: str = "info"


Config = TypeVar("Config")


def read_config(kind: type[Config], path: Path) -> Config:
    """Return the configuration in the JSON file at ``path``.

    Raises :class:`models.errors.WorkerConfigError`, which names the key and what was expected.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkerConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise WorkerConfigError(f"{path} is not JSON: {error}") from error
    return config_from(kind, values)


def config_from(kind: type[Config], values: object) -> Config:
    """Return ``values`` as a ``kind``, every key checked. Raises :class:`models.errors.WorkerConfigError`."""
    if not isinstance(values, dict):
        raise WorkerConfigError(f"{kind.__name__} is a JSON {type(values).__name__}; expected an object")
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise WorkerConfigError(f"{kind.__name__}: unknown key {name!r}; expected {', '.join(known)}")
    for name, field in known.items():
        if field.default is MISSING and name not in values:
            raise WorkerConfigError(f"{kind.__name__}: key {name!r} is missing")
    return kind(
        **{name: _value(f"{kind.__name__}.{name}", hints[name], value) for name, value in values.items()}
    )


def _value(name: str, hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if value is None else _value(name, arguments[0], value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(name, arguments[0], entry) for entry in value)
    if origin is dict and isinstance(value, dict):
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise WorkerConfigError(
        f"{name} is a JSON {type(value).__name__}; expected {getattr(hint, '__name__', hint)}"
    )
