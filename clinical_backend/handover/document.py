"""A document of headings, paragraphs and tables, written as Markdown or as one page of HTML that needs no other file.

Whatever is put into it stands there as it is: what would mean something to either language is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from clinical_backend.handover.markdown import code, safe, table
from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Code", "Document", "Heading", "Strong", "Table", "Text", "Words", "stylesheet_source"]

_STYLES = Path(__file__).parent / "document.css"
_LONGEST = 200
"""Characters of a heading and of a cell: a digest, or the name of a class in a sentence."""
_WIDE = 5
"""Columns from which on a table is one of figures, whose cells are not broken; by eye."""


@dataclass(frozen=True, slots=True)
class Strong:
    """A part of a text that is not to be missed."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A part of a text that is a name, a digest or a command."""

    text: str


Part: TypeAlias = "str | Strong | Code"


class Text:
    """A paragraph of parts."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts

    def markdown(self) -> str:
        """Return it as Markdown."""
        return "".join(_markdown(part) for part in self.parts) + "\n"

    def html(self) -> str:
        """Return it as HTML."""
        return f"<p>{''.join(map(_html, self.parts))}</p>"


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a section, of level 2 or 3."""

    text: str
    level: int = 2

    def markdown(self) -> str:
        """Return it as Markdown."""
        return f"{'#' * self.level} {safe(self.text, _LONGEST)}\n"

    def html(self) -> str:
        """Return it as HTML."""
        return f"<h{self.level}>{_escaped(self.text)}</h{self.level}>"


@dataclass(frozen=True, slots=True)
class Words:
    """What a person wrote: it is kept to the letter."""

    text: str

    def markdown(self) -> str:
        """Return it: as Markdown, if it is some."""
        return f"{self.text.rstrip()}\n"

    def html(self) -> str:
        """Return it as it was typed."""
        return f'<div class="words">{html.escape(self.text.strip())}</div>'


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row names it.

    A row of fewer cells has its last one as wide as is left; one of a single cell names the rows below it.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    def markdown(self) -> str:
        """Return it as Markdown."""
        filled = [(*row, *[""] * (len(self.heads) - len(row))) for row in self.rows]
        return (f"{safe(self.caption, _LONGEST)}\n\n" if self.caption else "") + table(self.heads, filled, _LONGEST)

    def html(self) -> str:
        """Return it as HTML."""
        heads = "".join(f'<th scope="col">{_escaped(head)}</th>' for head in self.heads)
        rows = "".join(f"<tr>{''.join(self._cells(row))}</tr>" for row in self.rows)
        caption = f"<caption>{_escaped(self.caption)}</caption>" if self.caption else ""
        kind = ' class="wide"' if len(self.heads) >= _WIDE else ""
        return f"<table{kind}>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"

    def _cells(self, row: Sequence[object]) -> Iterator[str]:
        for place, cell in enumerate(row):
            text = _escaped(f"{cell:,}" if isinstance(cell, int) else str(cell))
            left = len(self.heads) - place
            if len(row) == 1:
                yield f'<th colspan="{left}" scope="rowgroup" class="part">{text}</th>'
            elif place == 0:
                yield f'<th scope="row">{text}</th>'
            elif place == len(row) - 1 and left > 1:
                yield f'<td colspan="{left}" class="note">{text}</td>'
            else:
                yield f"<td>{text}</td>"


Block: TypeAlias = "Text | Heading | Words | Table"


@dataclass
class Document:
    """A document.

    Attributes
    ----------
    title
        Its title.
    blocks
        What follows, in order.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)

    def markdown(self) -> str:
        """Return it as Markdown."""
        return "\n".join([f"# {safe(self.title, _LONGEST)}\n", *(block.markdown() for block in self.blocks)])

    def html(self) -> str:
        """Return it as a page, with its styles inside."""
        title = _escaped(self.title)
        body = "\n".join(block.html() for block in self.blocks)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_styles()}</style></head>\n"
            f"<body><main>\n<h1>{title}</h1>\n{body}\n</main></body></html>\n"
        )


def stylesheet_source() -> str:
    """Return the source by which a Content-Security-Policy allows the styles of such a page, and no others."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(_styles().encode()).digest()).decode()}'"


@cache
def _styles() -> str:
    return _STYLES.read_text()


def _escaped(text: str, longest: int | None = _LONGEST) -> str:
    return html.escape(printable(text, longest or 10 * len(text) + 1))


def _markdown(part: Part) -> str:
    if isinstance(part, Strong):
        return f"**{safe(part.text, None)}**"
    return code(part.text, 1000) if isinstance(part, Code) else safe(part, None)


def _html(part: Part) -> str:
    if isinstance(part, Strong):
        return f"<strong>{_escaped(part.text, None)}</strong>"
    return f"<code>{_escaped(part.text, None)}</code>" if isinstance(part, Code) else _escaped(part, None)
