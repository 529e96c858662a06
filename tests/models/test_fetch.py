from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models import catalogue
from models.catalogue import Model, ModelFile, ModelKind
from models.errors import ModelFileError, ModelSourceError
from models.fetch import Sources, ensure, make_bundle, verify

pytestmark = pytest.mark.usefixtures("toy")

WEIGHTS = bytes(range(256)) * 4096


def entry_of(content: bytes = WEIGHTS, upstream: str = "") -> Model:
    file = ModelFile("weights.bin", len(content), hashlib.sha256(content).hexdigest(), upstream, ())
    return Model("toy", ModelKind.LLM, "Toy", "MIT", "", False, "weights.bin", (file,))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Model:
    entry = entry_of()
    monkeypatch.setattr(catalogue, "MODELS", {"toy": entry})
    return entry


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "shelf"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "weights.bin").write_bytes(WEIGHTS)
    return folder


def test_fetches_from_a_directory_and_a_second_run_reads_nothing(shelf: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert ensure(["toy"], cache, Sources(directory=shelf))["toy"].read_bytes() == WEIGHTS
    (shelf / "toy" / "weights.bin").unlink()
    assert ensure(["toy"], cache, Sources(directory=shelf))["toy"] == cache / "toy" / "weights.bin"


def test_a_broken_download_goes_on_where_it_stopped(shelf: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "weights.bin.part").write_bytes(WEIGHTS[:1000])
    # The source's first 1000 bytes are wrong: only a run that goes on after them can succeed.
    (shelf / "toy" / "weights.bin").write_bytes(bytes(1000) + WEIGHTS[1000:])
    assert ensure(["toy"], cache, Sources(directory=shelf))["toy"].read_bytes() == WEIGHTS


def test_the_next_source_is_asked_when_one_gives_other_bytes(shelf: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    (wrong / "toy").mkdir(parents=True)
    (wrong / "toy" / "weights.bin").write_bytes(bytes(len(WEIGHTS)))
    bundle = make_bundle(["toy"], shelf, tmp_path / "models.tar")
    sources = Sources(directory=wrong, bundle=bundle)
    assert ensure(["toy"], tmp_path / "cache", sources)["toy"].read_bytes() == WEIGHTS


def test_no_source_says_what_each_one_answered(tmp_path: Path) -> None:
    sources = Sources(directory=tmp_path / "nothing", bundle=tmp_path / "no.tar")
    with pytest.raises(ModelSourceError, match=r"toy/weights\.bin.*directory.*bundle"):
        ensure(["toy"], tmp_path / "cache", sources)
    assert not (tmp_path / "cache" / "toy" / "weights.bin").exists()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        pytest.param(None, "missing", id="missing"),
        pytest.param(WEIGHTS[:-1], "truncated", id="truncated"),
        pytest.param(WEIGHTS + b"!", "altered", id="longer"),
        pytest.param(b"!" + WEIGHTS[1:], "altered", id="one byte altered"),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_mends_it(
    shelf: Path, damage: bytes | None, word: str
) -> None:
    verify("toy", shelf)
    path = shelf / "toy" / "weights.bin"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
        os.utime(path, ns=(1, 1))
    with pytest.raises(ModelFileError, match=rf"weights\.bin is {word}.*landline models fetch toy"):
        verify("toy", shelf)


def test_an_altered_file_is_fetched_anew(shelf: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = ensure(["toy"], cache, Sources(directory=shelf))["toy"]
    path.write_bytes(b"!" + WEIGHTS[1:])
    os.utime(path, ns=(1, 1))
    assert ensure(["toy"], cache, Sources(directory=shelf))["toy"].read_bytes() == WEIGHTS


class _Mirror(http.server.BaseHTTPRequestHandler):
    ranges: list[str]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(WEIGHTS) - start))
        self.end_headers()
        # The first answer breaks off in the middle.
        body = WEIGHTS[start:] if wanted else WEIGHTS[:500_000]
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[tuple[str, list[str]]]:
    ranges: list[str] = []
    handler = type("Handler", (_Mirror,), {"ranges": ranges})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", ranges
        server.shutdown()


@pytest.mark.loopback
def test_a_mirror_that_breaks_off_is_asked_for_the_rest(
    mirror: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, ranges = mirror
    with pytest.raises(ModelSourceError, match="mirror"):
        ensure(["toy"], tmp_path, Sources(order=("mirror",), mirror=url))
    assert ensure(["toy"], tmp_path, Sources(order=("mirror",), mirror=url))["toy"].read_bytes() == WEIGHTS
    assert ranges[0] == ""
    assert ranges[1].startswith("bytes=")
