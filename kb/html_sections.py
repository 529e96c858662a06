"""HTML to sections: visible text only, in the order of the page. Sans-I/O."""

from __future__ import annotations

from typing import Final

from bs4 import BeautifulSoup
from bs4.element import NavigableString, PreformattedString, Tag

from kb.sections import SectionBuilder, row_sentence
from kb.sentences import squeeze
from kb.types import Section

_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
_UNSEEN: Final = frozenset(
    "script style noscript template head svg iframe object nav form button select option".split()
)
_INLINE: Final = frozenset(
    "a abbr b bdi bdo br cite code data dfn em font i img kbd label mark q s samp small span strong sub sup"
    " time tt u var wbr".split()
)
_MAX_DEPTH: Final = 200


def parse_html(text: str, title: str) -> list[Section]:
    """Return the sections of an HTML page; scripts, navigation, forms and hidden parts are left out."""
    soup = BeautifulSoup(text, "html.parser")
    named = soup.title.get_text() if soup.title else ""
    builder = SectionBuilder(squeeze(named) or title)
    _feed(builder, soup)
    return builder.sections()


def feed_html(builder: SectionBuilder, fragment: str) -> None:
    """Append what an HTML fragment inside another document says."""
    _feed(builder, BeautifulSoup(fragment, "html.parser"))


def _feed(builder: SectionBuilder, root: Tag) -> None:
    flow: list[str] = []

    def flush() -> None:
        builder.block("".join(flow))
        flow.clear()

    def walk(node: Tag, depth: int) -> None:
        for child in node.children:
            if isinstance(child, PreformattedString):
                continue
            if isinstance(child, NavigableString):
                flow.append(str(child))
            elif isinstance(child, Tag) and not _hidden(child):
                visit(child, depth)

    def visit(tag: Tag, depth: int) -> None:
        if tag.name == "br":
            flow.append(" ")
        elif tag.name in _HEADINGS:
            flush()
            builder.heading(int(tag.name[1]), tag.get_text(" "))
        elif tag.name == "table":
            flush()
            _feed_table(builder, tag)
        elif depth >= _MAX_DEPTH:
            flow.append(tag.get_text(" "))
        elif tag.name in _INLINE:
            walk(tag, depth + 1)
        else:
            flush()
            walk(tag, depth + 1)
            flush()

    walk(root, 0)
    flush()


def _hidden(tag: Tag) -> bool:
    style = str(tag.get("style") or "").replace(" ", "").lower()
    return (
        tag.name in _UNSEEN
        or tag.has_attr("hidden")
        or tag.get("aria-hidden") == "true"
        or "display:none" in style
    )


def _feed_table(builder: SectionBuilder, table: Tag) -> None:
    """One sentence a row. Cells left open nest in one another, so a string belongs to the nearest cell above it."""
    rows: dict[int, list[Tag]] = {}
    texts: dict[int, str] = {}
    for cell in table.find_all(["td", "th"]):
        rows.setdefault(id(cell.find_parent("tr")), []).append(cell)
        own = (text for text in cell.find_all(string=True) if text.find_parent(["td", "th"]) is cell)
        texts[id(cell)] = squeeze(" ".join(own))
    header: list[str] = []
    for cells in rows.values():
        row = [texts[id(cell)] for cell in cells]
        if all(cell.name == "th" for cell in cells):
            header = row
        else:
            builder.block(row_sentence(header, row))
