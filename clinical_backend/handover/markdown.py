"""Markdown of values that others wrote: they say nothing but themselves."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["code", "safe", "table"]

_MARKS = str.maketrans({"`": "'"} | {sign: f"&#{ord(sign)};" for sign in "|[*~\\"})
"""What would begin a cell, a link or image, stress, or strike out in Markdown."""
_STRESS = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
"""Underscores at either end of a word; those within one mean nothing."""
_LONGEST = 60


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], longest: int = _LONGEST) -> str:
    """Return a table, with a line of heads; no cell is longer."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(safe(cell, longest) for cell in line)} |" for line in lines) + "\n"


def safe(value: object, longest: int | None = _LONGEST) -> str:
    """Return a value as text that says nothing but itself, on one line and not too long; of any length by ``None``."""
    text = str(value)
    line = f"{value:,}" if isinstance(value, int) else printable(text, longest or 10 * len(text) + 1)
    escaped = html.escape(line, quote=False).translate(_MARKS)
    return _STRESS.sub(lambda match: "&#95;" * len(match.group()), escaped)


def code(text: str, longest: int = 100) -> str:
    """Return a text as code, in which backticks alone mean something."""
    line = printable(text, longest).replace("`", "'")
    return f"`{line}`"
