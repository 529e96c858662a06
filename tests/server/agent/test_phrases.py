"""Rendered sentences on disk: found again, bounded, whole or not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.errors import WorkerUnavailable
from server.agent import phrase_file
from server.agent.lexicon import Lexicon
from server.agent.phrases import PhraseBook
from server.agent.rendering import Rendered
from tests.fakes.models import ScriptedTextToSpeech

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class NamedVoice(ScriptedTextToSpeech):
    """A voice that says which it is, unless it is down."""

    name: str = "one"
    down: bool = False

    async def identity(self, voice: str = "") -> str:  # noqa: ARG002
        if self.down:
            raise WorkerUnavailable("down")
        return self.name


def book(directory: Path, **options: object) -> PhraseBook:
    return PhraseBook(directory, voice="", rate_hz=8000, **options)  # type: ignore[arg-type]


def files(directory: Path) -> list[Path]:
    """The sentences there, used longest ago first. One may go while they are looked at."""
    used: list[tuple[float, Path]] = []
    for path in directory.glob("*.phrase"):
        with suppress(FileNotFoundError):
            used.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(used)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the writers beside the loop."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_fixed_phrases_are_rendered_once_for_all_processes(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech(aligned=True)
    first, second = book(tmp_path), book(tmp_path)
    await first.render(["Hello there.", "Goodbye.", "Hello there."], tts)
    await second.render(["Hello there."], tts)
    assert tts.spoken == ["Hello there.", "Goodbye."]
    found = second.find("Hello there.")
    assert found == first.find("Hello there.")
    assert found is not None
    assert len(found.ends) == 2
    assert second.get("Hello there.") == found.pcm


async def test_another_voice_rate_or_pronunciation_is_another_sound(tmp_path: Path) -> None:
    tts = NamedVoice()
    await book(tmp_path).render(["Hello GP."], tts)
    tts.name = "two"
    await book(tmp_path).render(["Hello GP."], tts)
    await book(tmp_path, lexicon=Lexicon({"gp": "gee pee"})).render(["Hello GP."], tts)
    await PhraseBook(tmp_path, voice="", rate_hz=16000).render(["Hello GP."], tts)
    await PhraseBook(tmp_path, voice="other", rate_hz=8000).render(["Hello GP."], tts)
    assert len(tts.spoken) == 5
    await book(tmp_path).render(["Hello GP."], tts)
    assert len(tts.spoken) == 5


async def test_the_phrases_of_a_voice_that_is_down_are_there(tmp_path: Path) -> None:
    tts = NamedVoice()
    await book(tmp_path).render(["Hello."], tts)
    again = book(tmp_path)
    await again.render(["Hello."], NamedVoice(down=True, failures=[WorkerUnavailable("down")]))
    assert again.find("Hello.") is not None


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "other"])
async def test_a_damaged_file_is_rendered_again(tmp_path: Path, damage: str) -> None:
    tts = ScriptedTextToSpeech()
    await book(tmp_path).render(["Hello."], tts)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[-100] ^= 1
    path.write_bytes(
        {"empty": b"", "cut": whole[:-2], "changed": bytes(changed), "other": b"RIFF" * 20}[damage]
    )
    again = book(tmp_path)
    await again.render(["Hello."], tts)
    assert len(tts.spoken) == 2
    assert path.read_bytes() == whole
    assert again.find("Hello.") is not None


async def test_what_was_used_longest_ago_goes_and_fixed_phrases_stay(tmp_path: Path) -> None:
    tts = ScriptedTextToSpeech()
    phrases = book(tmp_path, bytes_limit=5000)
    await phrases.render(["Fixed, and longer than the limit."], tts)
    for number in range(3):
        before = set(files(tmp_path))
        phrases.keep(f"Sentence {number}.", Rendered(bytes(1600)))
        await until(lambda before=before: len(set(files(tmp_path)) - before) == 1)  # type: ignore[misc]
        (path,) = set(files(tmp_path)) - before
        os.utime(path, (number, number))
    reader = book(tmp_path, bytes_limit=5000)
    await reader.render(["Fixed, and longer than the limit."], tts)
    oldest = files(tmp_path)[0]
    assert reader.find("Sentence 0.") is not None
    await until(lambda: files(tmp_path)[0] != oldest)
    reader.keep("Sentence 3.", Rendered(bytes(1600)))
    await until(lambda: oldest in files(tmp_path)[-2:] and len(files(tmp_path)) == 4)
    for one in (reader, book(tmp_path, bytes_limit=5000)):
        await one.render(["Fixed, and longer than the limit."], tts)
        there = [one.find(f"Sentence {number}.") is not None for number in range(4)]
        assert there == [True, False, True, True]
    assert len(tts.spoken) == 1


async def test_what_is_kept_is_there_after_a_restart_and_its_words_are_not_in_the_file(
    tmp_path: Path,
) -> None:
    tts = ScriptedTextToSpeech()
    phrases = book(tmp_path)
    await phrases.render([], tts)
    audio = Rendered(b"\1\0" * 800, (300, 800))
    phrases.keep("Parking is free.", audio)
    await until(lambda: len(files(tmp_path)) == 1)
    again = book(tmp_path)
    await again.render([], tts)
    assert again.find("Parking is free.") == audio
    (path,) = files(tmp_path)
    assert b"Parking" not in path.read_bytes()


async def test_an_unfinished_file_of_a_killed_process_is_removed_and_a_living_ones_is_not(
    tmp_path: Path,
) -> None:
    old, fresh = tmp_path / "old.part", tmp_path / "fresh.part"
    old.write_bytes(b"LL")
    fresh.write_bytes(b"LL")
    os.utime(old, (1, 1))
    await book(tmp_path).render([], ScriptedTextToSpeech())
    assert (old.exists(), fresh.exists()) == (False, True)


def test_two_writers_of_one_sentence_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.phrase"
    for _ in range(2):
        phrase_file.write(path, 8000, Rendered(bytes(100), (50,)))
    assert phrase_file.read(path, 8000) == Rendered(bytes(100), (50,))
    assert phrase_file.read(path, 16000) is None
    assert list(tmp_path.iterdir()) == [path]
