"""Markdown (CommonMark with tables) to sections. Sans-I/O."""

from __future__ import annotations

import re
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from kb.html_sections import feed_html
from kb.sections import SectionBuilder, row_sentence
from kb.sentences import squeeze
from kb.types import Section

_FRONT_MATTER: Final = re.compile(r"\A---\s*\n(.*?\n)---\s*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE: Final = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)


def parse_markdown(text: str, title: str) -> list[Section]:
    """Return the sections of a Markdown document; a front matter gives at most its title."""
    front = _FRONT_MATTER.match(text)
    if front:
        text = text[front.end() :]
        named = _FRONT_TITLE.search(front[1])
        title = named[1] if named else title
    reader = _Reader(SectionBuilder(title))
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        reader.take(token)
    return reader.builder.sections()


class _Reader:
    """Takes the parser's flat list of tokens; remembers the open heading or cell and the table's header."""

    def __init__(self, builder: SectionBuilder) -> None:
        self.builder = builder
        self._open_tag = ""
        self._header: list[str] = []
        self._cells: list[str] = []
        self._in_header = False

    def take(self, token: Token) -> None:
        match token.type:
            case "heading_open" | "th_open" | "td_open":
                self._open_tag = token.tag
            case "heading_close" | "th_close" | "td_close":
                self._open_tag = ""
            case "tr_open":
                self._cells = []
            case "thead_open" | "tbody_open":
                self._in_header = token.type == "thead_open"
            case "tr_close":
                self._end_row()
            case "inline":
                self._text(_plain(token))
            case "fence" | "code_block":
                self.builder.block(token.content)
            case "html_block":
                feed_html(self.builder, token.content)
            case _:
                pass

    def _end_row(self) -> None:
        if self._in_header:
            self._header = self._cells
        else:
            self.builder.block(row_sentence(self._header, self._cells))

    def _text(self, text: str) -> None:
        if self._open_tag in ("th", "td"):
            self._cells.append(text)
        elif self._open_tag:
            self.builder.heading(int(self._open_tag[1]), text)
        else:
            self.builder.block(text)


def _plain(token: Token) -> str:
    parts: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif child.type == "image":
            parts.append(child.content)
    return squeeze("".join(parts))
