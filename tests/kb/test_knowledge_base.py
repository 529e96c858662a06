"""What an owner of documents sees: they are found, refreshed, removed, never half there, and owned once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb import (
    AddReport,
    EmbeddingMismatch,
    IndexBusy,
    IndexDamaged,
    InvalidCollection,
    KnowledgeBase,
    KnowledgeError,
)
from tests.kb.word_embedding import WordEmbedding

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    write(
        folder,
        "hours.md",
        "# Opening hours\n\n## Saturday\n\nOn Saturday we open at nine. We close at one.\n",
    )
    write(folder, "parking.txt", "You can park behind the house. Parking costs three dollars.\n")
    write(folder, "tests/mri.html", "<h1>MRI</h1><p>Leave all metal at home.</p>")
    write(folder, ".hidden.md", "Not to be found.")
    return folder


def test_documents_are_found_with_source_title_and_score(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        report = base.add("clinic", [documents])
        assert report == AddReport(added=("hours.md", "parking.txt", "tests/mri.html"), passages=3)
        passages = base.query("clinic", "when do you open on saturday?", limit=2)
    assert len(passages) == 2
    best = passages[0]
    assert (best.source, best.title) == ("hours.md", "Opening hours > Saturday")
    assert best.text == "On Saturday we open at nine. We close at one."
    assert 0 < passages[1].score < best.score <= 1


def test_the_index_outlives_its_owner(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding(), now=lambda: NOON) as base:
        base.add("clinic", [documents])
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        assert base.query("clinic", "leave metal")[0].source == "tests/mri.html"
        listed = base.documents("clinic")
        assert [(entry.source, entry.title, entry.passages) for entry in listed] == [
            ("hours.md", "Opening hours", 1),
            ("parking.txt", "Parking", 1),
            ("tests/mri.html", "MRI", 1),
        ]
        assert {entry.added_at for entry in listed} == {NOON}
        assert base.collections() == ["clinic"]


def test_what_is_unchanged_is_not_embedded_again(tmp_path: Path, documents: Path) -> None:
    embed = WordEmbedding()
    with KnowledgeBase.open(tmp_path / "index", embed) as base:
        base.add("clinic", [documents])
        embed.embedded.clear()
        write(documents, "hours.md", "# Hours\n\nWe are open on Sunday only.\n")
        report = base.add("clinic", [documents])
        assert report.added == ("hours.md",)
        assert report.unchanged == ("parking.txt", "tests/mri.html")
        assert embed.embedded == ["Hours. We are open on Sunday only."]
        texts = [passage.text for passage in base.query("clinic", "Saturday nine Sunday", limit=9)]
    assert "We are open on Sunday only." in texts
    assert not any("Saturday" in text for text in texts)


def test_a_moved_document_is_not_embedded_again(tmp_path: Path, documents: Path) -> None:
    embed = WordEmbedding()
    with KnowledgeBase.open(tmp_path / "index", embed) as base:
        base.add("clinic", [documents])
        embed.embedded.clear()
        moved = documents.rename(tmp_path / "elsewhere")
        assert base.add("clinic", [moved]).unchanged == ("hours.md", "parking.txt", "tests/mri.html")
    assert embed.embedded == []


def test_another_embedding_model_means_embedding_again(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding(), model="one") as base:
        base.add("clinic", [documents])
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding(), model="two") as base:
        assert len(base.add("clinic", [documents]).added) == 3
        assert len(base.query("clinic", "open park metal", limit=9)) == 3


def test_vectors_of_another_size_are_refused_and_nothing_is_lost(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding(256)) as base:
        base.add("clinic", [documents])
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding(64), model="small") as base:
        with pytest.raises(EmbeddingMismatch, match="remove its documents and add them again"):
            base.add("clinic", [documents])
        with pytest.raises(EmbeddingMismatch, match="expected the model it was made with"):
            base.query("clinic", "metal")
        assert len(base.documents("clinic")) == 3
        for document in base.documents("clinic"):
            base.remove("clinic", document.source)
        assert len(base.add("clinic", [documents]).added) == 3
        assert base.query("clinic", "leave metal")[0].source == "tests/mri.html"


def test_removing(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        base.add("clinic", [documents])
        assert base.remove("clinic", "hours.md") == 1
        assert base.remove("clinic", "hours.md") == 0
        assert base.remove("nothing-here", "hours.md") == 0
        assert "hours.md" not in {
            passage.source for passage in base.query("clinic", "open saturday", limit=9)
        }
        assert base.add("clinic", [documents]).added == ("hours.md",)


def test_a_file_gone_from_its_directory_is_forgotten(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        base.add("clinic", [documents])
        base.add("clinic", [write(tmp_path, "elsewhere.md", "Elsewhere is fine.")])
        (documents / "parking.txt").unlink()
        assert base.add("clinic", [documents]).removed == ("parking.txt",)
        assert [entry.source for entry in base.documents("clinic")] == [
            "elsewhere.md",
            "hours.md",
            "tests/mri.html",
        ]


def test_collections_do_not_see_each_other(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        base.add("clinic", [documents / "hours.md"])
        base.add("garage", [documents / "parking.txt"])
        assert [passage.source for passage in base.query("garage", "open saturday park")] == ["parking.txt"]
        base.remove("garage", "parking.txt")
        assert base.query("garage", "park") == []
        assert len(base.query("clinic", "saturday")) == 1


def test_a_bad_file_is_reported_and_loses_nothing(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        base.add("clinic", [documents])
        (documents / "hours.md").write_bytes(b"\xff\xfe broken")
        unknown = write(documents, "scan.pdf", "%PDF")
        missing = tmp_path / "missing.md"
        report = base.add("clinic", [documents, missing])
        failures = dict(report.failed)
        assert set(failures) == {str(documents / "hours.md"), str(unknown), str(missing)}
        assert failures[str(documents / "hours.md")].startswith("not UTF-8")
        assert failures[str(unknown)].startswith("unknown kind of document; expected one of")
        assert report.unchanged == ("parking.txt", "tests/mri.html")
        assert base.query("clinic", "open on saturday")[0].source == "hours.md"


def test_two_files_of_one_name_are_not_merged_silently(tmp_path: Path) -> None:
    first = write(tmp_path, "a/readme.md", "First file.")
    second = write(tmp_path, "b/readme.md", "Second file.")
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        report = base.add("clinic", [first, second])
        assert report.added == ("readme.md",)
        assert [path for path, _ in report.failed] == [str(second)]
        assert "one directory over both" in report.failed[0][1]


def test_a_failed_replacement_leaves_the_old_passages(tmp_path: Path, documents: Path) -> None:
    """The new vectors are in and the process dies before the catalogue is switched."""

    def dies() -> datetime:
        raise KeyboardInterrupt

    index = tmp_path / "index"
    with KnowledgeBase.open(index, WordEmbedding()) as base:
        base.add("clinic", [documents])
    write(documents, "hours.md", "# Hours\n\nNever open again.\n")
    with KnowledgeBase.open(index, WordEmbedding(), now=dies) as base:
        with pytest.raises(KeyboardInterrupt):
            base.add("clinic", [documents])
        texts = [passage.text for passage in base.query("clinic", "open saturday never again", limit=9)]
        assert "On Saturday we open at nine. We close at one." in texts
        assert "Never open again." not in texts
    with KnowledgeBase.open(index, WordEmbedding()) as base:
        assert base._vectors.ids("clinic") == base._catalogue.ids("clinic")
        assert base.add("clinic", [documents]).added == ("hours.md",)
        assert base.query("clinic", "never open again", limit=1)[0].text == "Never open again."


def test_a_failing_embedder_loses_nothing(tmp_path: Path, documents: Path) -> None:
    class Gone(Exception):
        pass

    embed = WordEmbedding()

    def breaks(texts: Sequence[str], /) -> NDArray[np.float32]:
        raise Gone(len(texts))

    with KnowledgeBase.open(tmp_path / "index", embed) as base:
        base.add("clinic", [documents])
    write(documents, "hours.md", "# Hours\n\nChanged.\n")
    with KnowledgeBase.open(tmp_path / "index", breaks) as base:
        with pytest.raises(Gone):
            base.add("clinic", [documents])
        assert len(base.documents("clinic")) == 3
    with KnowledgeBase.open(tmp_path / "index", embed) as base:
        assert base.query("clinic", "saturday nine", limit=1)[0].source == "hours.md"


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        base.add("clinic", [documents])
        database = base._catalogue._database
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        write(documents, "hours.md", "# Hours\n\n" + "We are open on a day of its own. " * 2000)
        with pytest.raises(KnowledgeError, match=r"full.*expected .* free disk space"):
            base.add("clinic", [documents])
        assert base.query("clinic", "saturday nine", limit=1)[0].source == "hours.md"
        assert len(base.documents("clinic")) == 3


def test_queries_are_answered_while_documents_are_embedded(tmp_path: Path, documents: Path) -> None:
    embed = WordEmbedding()
    embedding, answered = threading.Event(), threading.Event()

    def slow(texts: Sequence[str], /) -> NDArray[np.float32]:
        if any("Garden" in text for text in texts):
            embedding.set()
            assert answered.wait(30)
        return embed(texts)

    with KnowledgeBase.open(tmp_path / "index", slow) as base, ThreadPoolExecutor(1) as threads:
        base.add("clinic", [documents])
        adding = threads.submit(base.add, "clinic", [write(tmp_path, "garden.md", "The Garden is behind.")])
        assert embedding.wait(30)
        assert base.query("clinic", "saturday nine", limit=1)[0].source == "hours.md"
        answered.set()
        assert adding.result(30).added == ("garden.md",)
        assert base.query("clinic", "garden behind", limit=1)[0].source == "garden.md"


@pytest.mark.parametrize("name", ["", "ab", "has space", "-dash-first", "dot.", "a" * 513, "sla/sh"])
def test_a_name_that_chroma_would_refuse(tmp_path: Path, name: str, documents: Path) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        calls: list[Callable[[], object]] = [
            lambda: base.add(name, [documents]),
            lambda: base.query(name, "x"),
            lambda: base.documents(name),
            lambda: base.remove(name, "x"),
        ]
        for call in calls:
            with pytest.raises(InvalidCollection, match="expected 3 to 512"):
                call()


@pytest.mark.parametrize("question", ["", "   ", "?!", '"', "* OR NEAR(", "a" * 9000])
def test_odd_questions_are_answered_without_an_error(tmp_path: Path, documents: Path, question: str) -> None:
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding()) as base:
        base.add("clinic", [documents])
        assert all(0 <= passage.score <= 1 for passage in base.query("clinic", question))
        assert base.query("empty-one", question) == []


def test_a_second_owner_is_told_who_has_it(tmp_path: Path) -> None:
    with (
        KnowledgeBase.open(tmp_path / "index", WordEmbedding()),
        pytest.raises(IndexBusy, match=r"index is in use by another process .*expected it to be free"),
        KnowledgeBase.open(tmp_path / "index", WordEmbedding(), lock_timeout_s=0),
    ):
        pass
    with KnowledgeBase.open(tmp_path / "index", WordEmbedding(), lock_timeout_s=0) as base:
        assert base.collections() == []


def test_a_damaged_index_is_an_error_and_frees_the_lock(tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    (index / "catalogue.sqlite3").write_bytes(b"not a database at all, far from it" * 40)
    with (
        pytest.raises(IndexDamaged, match="move its folder away"),
        KnowledgeBase.open(index, WordEmbedding()),
    ):
        pass
    (index / "catalogue.sqlite3").unlink()
    with KnowledgeBase.open(index, WordEmbedding(), lock_timeout_s=0):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    write(tmp_path, "file", "x")
    with (
        pytest.raises(KnowledgeError, match="expected a writable folder"),
        KnowledgeBase.open(tmp_path / "file" / "index", WordEmbedding()),
    ):
        pass
