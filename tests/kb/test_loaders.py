"""Documents of every kind become headed, speakable sentences; bad ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.errors import DocumentRejected
from kb.loaders import PARSERS, parse_document, read_document
from kb.types import Section


def parse(name: str, text: str) -> list[Section]:
    return parse_document(Path(name), text.encode())


def test_markdown_keeps_the_heading_path() -> None:
    text = "# Parking\n\nThere is a car park.\n\n## Fees\n\nIt is free.\n\n### Trucks\n\nNo trucks.\n\n## Bicycles\n\nYes."
    assert parse("parking.md", text) == [
        Section("Parking", ("There is a car park.",)),
        Section("Parking > Fees", ("It is free.",)),
        Section("Parking > Fees > Trucks", ("No trucks.",)),
        Section("Parking > Bicycles", ("Yes.",)),
    ]


def test_markdown_table_rows_are_sentences_with_their_columns() -> None:
    text = "# Hours\n\n| Day | Opens | Closes |\n|---|---|---|\n| Monday | 8:00 | 18:00 |\n| Sunday | | |\n"
    assert parse("h.md", text)[0].blocks == ("Monday, Opens: 8:00, Closes: 18:00.", "Sunday.")


def test_markdown_markup_is_not_spoken() -> None:
    text = "Call **now**, see [our page](http://x.test/y) or `desk`.\n\n- one\n- two\n\n<p>Raw <i>HTML</i> too</p>\n"
    assert parse("a.md", text)[0].blocks == (
        "Call now, see our page or desk.",
        "one.",
        "two.",
        "Raw HTML too.",
    )


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\ntitle: From the front\n---\nText.", "From the front"),
        ("No heading at all.", "Opening hours"),
        ("# Its own\n\nText.", "Its own"),
    ],
    ids=["front-matter", "file-name", "heading"],
)
def test_title(text: str, title: str) -> None:
    assert parse("opening-hours.md", text)[0].title == title


def test_html_gives_only_what_a_reader_sees() -> None:
    page = (
        "<html><head><title>T</title><style>p{}</style></head><body><nav>menu</nav><!-- note --><h1>Flu shot</h1>"
        "Loose <b>bold</b> text<p>One<p>Two<br>lines<ul><li>item</ul><script>x()</script><div hidden>gone</div>"
        "<div style='display: none'>gone</div><h2>Price</h2><table><tr><th>Who<th>Price<tr><td>Adults<td>30</table>"
        "</body></html>"
    )
    assert parse("v.html", page) == [
        Section("Flu shot", ("Loose bold text.", "One.", "Two lines.", "item.")),
        Section("Flu shot > Price", ("Adults, Price: 30.",)),
    ]


def test_text_paragraphs_and_underlined_headings() -> None:
    text = "Interpreters\n============\n\nFree of\ncharge\n\nOrder\n-----\n- by phone\n- by letter\n"
    assert parse("i.txt", text) == [
        Section("Interpreters", ("Free of charge.",)),
        Section("Interpreters > Order", ("by phone.", "by letter.")),
    ]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.docx", b"x", "expected one of .md, .markdown, .txt, .html, .htm"),
        ("noending", b"x", "unknown kind of document"),
        ("latin.md", "# Caf\n\nCaf\u00e9".encode("latin-1"), "not UTF-8 (byte 0xe9 in line 3)"),
        ("utf16.txt", "hours".encode("utf-16"), "expected UTF-8"),
        ("nul.txt", b"a\x00b", "NUL"),
        ("empty.md", b"", "expected at least one sentence"),
        ("only-heading.md", b"# Hours\n", "expected at least one sentence"),
        ("big.txt", b"word " * 300, "expected at most 1000 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_refusal_names_the_file_and_what_was_expected(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DocumentRejected) as caught:
        parse_document(path, read_document(path, max_bytes=1000))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DocumentRejected, match=r"none\.md: no such file"):
        read_document(tmp_path / "none.md")


def test_byte_order_mark_is_no_text() -> None:
    assert parse_document(Path("a.txt"), b"\xef\xbb\xbfOpen.")[0].blocks == ("Open.",)


def test_deeply_nested_html_is_read_without_a_crash() -> None:
    assert "deep" in parse("d.html", "<div>" * 400 + "deep" + "</div>" * 400)[0].blocks[0]


@given(st.sampled_from(sorted(set(PARSERS))), st.text(max_size=300))
def test_any_text_is_parsed_or_refused(suffix: str, text: str) -> None:
    try:
        sections = parse_document(Path(f"x{suffix}"), text.encode("utf-8", "ignore"))
    except DocumentRejected:
        return
    assert all(block.strip() for section in sections for block in section.blocks)
