"""Checks a Dockerfile without an engine: pinned bases, sources that exist, a user, an entry point that exists."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PINNED_TAG: Final = re.compile(r"[^:@\s]+(:v?\d+\.\d+[\w.+-]*|@sha256:[0-9a-f]{64})")
_CREDENTIAL: Final = re.compile(r"(password|passwd|secret|token|api_?key)", re.IGNORECASE)
_INSTRUCTIONS: Final = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME"
    " WORKDIR".split()
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, continuation lines joined."""

    line: int
    name: str
    value: str


def instructions(text: str) -> list[Instruction]:
    """Return a Dockerfile's instructions; comments are left out."""
    found: list[Instruction] = []
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        first = first or number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            name, _, value = " ".join(parts).partition(" ")
            found.append(Instruction(first, name, value.strip()))
            parts, first = [], 0
    return found


def environment(text: str) -> dict[str, str]:
    """Return the variables that the last stage's ENV instructions set (``NAME=value`` form)."""
    stage: dict[str, str] = {}
    for item in instructions(text):
        if item.name == "FROM":
            stage = {}
        elif item.name == "ENV":
            stage |= dict(pair.split("=", 1) for pair in item.value.split() if "=" in pair)
    return stage


def check_dockerfile(path: Path, context: Path) -> list[str]:
    """Return what is wrong with the Dockerfile at ``path``, built in ``context``; each names its line."""
    if not path.is_file():
        return [f"{path}: not there; expected a Dockerfile"]
    items = instructions(path.read_text(encoding="utf-8"))
    stages = [item for item in items if item.name == "FROM"]
    problems = [
        *_unknown(items),
        *_bases(stages),
        *_sources(items, context, path),
        *_user(items),
        *_secrets(items),
        *_entry_point(items, context),
    ]
    if not stages:
        problems.append("no FROM; expected a base image")
    return [f"{path.relative_to(context)}: {problem}" for problem in problems]


def _unknown(items: Sequence[Instruction]) -> Iterator[str]:
    for item in items:
        if item.name not in _INSTRUCTIONS:
            yield f"line {item.line}: unknown instruction {item.name}"
        if item.name == "ADD":
            yield f"line {item.line}: ADD can fetch and unpack; expected COPY"


def _bases(stages: Sequence[Instruction]) -> Iterator[str]:
    named: set[str] = set()
    for item in stages:
        base, *alias = item.value.split()
        if base not in named and not PINNED_TAG.fullmatch(base):
            yield f"line {item.line}: base image {base} is not pinned; expected a version tag or a digest"
        if len(alias) == 2 and alias[0].upper() == "AS":
            named.add(alias[1])


def _sources(items: Sequence[Instruction], context: Path, dockerfile: Path) -> Iterator[str]:
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    admitted = None
    if ignore.is_file():
        lines = ignore.read_text(encoding="utf-8").split()
        if "*" in lines:
            admitted = {line[1:] for line in lines if line.startswith("!")}
            for name in sorted(admitted):
                if not (context / name).exists():
                    yield f"{ignore.name} admits {name}, which is not in the tree"
    stages = {words[2] for item in items if item.name == "FROM" and len(words := item.value.split()) == 3}
    for item in items:
        if item.name != "COPY":
            continue
        words = item.value.split()
        sources = [word for word in words[:-1] if not word.startswith("--")]
        origin = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), "")
        if origin:
            if origin not in stages:
                yield f"line {item.line}: COPY from stage {origin}; expected one of {', '.join(sorted(stages))}"
            continue
        for source in sources:
            if not (context / source).exists():
                yield f"line {item.line}: COPY source {source} is not in the tree"
            elif admitted is not None and not any(
                source == name or source.startswith(f"{name}/") for name in admitted
            ):
                yield f"line {item.line}: COPY source {source} is kept out by {ignore.name}"


def _user(items: Sequence[Instruction]) -> Iterator[str]:
    user = ""
    for item in items:
        if item.name == "FROM":
            user = ""
        elif item.name == "USER":
            user = item.value
    if user in ("", "root", "0"):
        yield f"the last stage runs as {user or 'root'}; expected a USER of its own"


def _secrets(items: Sequence[Instruction]) -> Iterator[str]:
    for item in items:
        if item.name in ("ARG", "ENV") and _CREDENTIAL.search(item.value.split("=")[0]):
            yield f"line {item.line}: {item.name} {item.value.split('=')[0]} would stay in the image; expected no secret"


def _entry_point(items: Sequence[Instruction], context: Path) -> Iterator[str]:
    last = next((item for item in reversed(items) if item.name == "ENTRYPOINT"), None)
    if last is None:
        yield "no ENTRYPOINT; expected one in JSON form"
        return
    try:
        words = json.loads(last.value)
    except ValueError:
        yield f"line {last.line}: ENTRYPOINT is not in JSON form; a shell would swallow SIGTERM"
        return
    installed = " ".join(item.value for item in items if item.name == "RUN").split()
    for word in words:
        if word.startswith("-"):
            continue
        name = Path(word).name
        if name not in _project_commands(context) and name not in installed:
            yield f"line {last.line}: ENTRYPOINT {word}: neither a command of this project nor installed by apt here"


def _project_commands(context: Path) -> Mapping[str, str]:
    project = tomllib.loads((context / "pyproject.toml").read_text(encoding="utf-8"))
    commands: Mapping[str, str] = project["project"].get("scripts", {})
    return commands
