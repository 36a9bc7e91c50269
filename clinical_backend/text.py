"""Text and JSON that others wrote: made such as every database, page and reply can hold, and as people read it.

JSON may name half of a character (a lone surrogate) and the character NUL; UTF-8 has no form for the first, and
PostgreSQL takes neither. Both are kept as JSON writes them, so that different texts stay different.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["counted", "csv_row", "joined", "listed", "printable", "read_json", "storable", "storable_json"]

_LONE = re.compile("[\ud800-\udfff\0]")
_SUSPECT = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole character in two halves
    r"|(?P<lone>u(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000))"
    r"|.)",
    re.DOTALL,
)
_FORMULA = re.compile(r"(?![+-][0-9]+(?:[.][0-9]+)?\Z)[\t\r\n]*[=+\-@].", re.DOTALL)
_LONGEST = 60  # a class name of a dozen words; lists of some stay readable
_MOST = 10  # by eye: a line or two of a message


def storable(text: str) -> str:
    """Return a text with lone surrogates and NUL written out, by backslash, u and four digits."""
    return _LONE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def read_json(content: bytes | str) -> Any:  # noqa: ANN401
    """Return what a JSON text holds, lone surrogates and NUL in its strings written out.

    Raises
    ------
    ValueError
        When it is no JSON.
    """
    text = content.decode(json.detect_encoding(content), "replace") if isinstance(content, bytes) else storable(content)
    text = text.removeprefix("\ufeff")
    if _SUSPECT.search(text):
        text = _ESCAPE.sub(_written_out, text)
    return json.loads(text)


def storable_json(value: Any) -> Any:  # noqa: ANN401
    """Return a value of JSON's kinds with lone surrogates and NUL in its strings written out."""
    text = json.dumps(value)
    return read_json(text) if _SUSPECT.search(text) else value


def printable(text: str, longest: int = _LONGEST) -> str:
    """Return a text on one line and not too long; what no screen shows, or no file takes, is escaped."""
    start = text[: longest + 1]
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in start)
    return line if len(text) <= longest and len(line) <= longest else line[: longest - 1] + "…"


def amount(count: int, one: str, many: str = "") -> str:
    """Return a number of things in words: ``1 task``, ``2,000 tasks``; ``many`` where their plural is no mere s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def counted(numbers: Mapping[str, int], most: int = _MOST) -> str:
    """Return names with their numbers, the most frequent first; of many only so many, and how many more there are."""
    order = sorted(numbers, key=lambda name: (-numbers[name], name))
    parts = [f"'{printable(name)}' ({numbers[name]})" for name in order[:most]]
    if len(order) > most:
        parts.append(f"and {len(order) - most} more")
    return ", ".join(parts)


def listed(names: Sequence[str], most: int = _MOST) -> str:
    """Return names in quotes, the last one after "and"; of many only so many, and how many more there are."""
    parts = [f"'{printable(name)}'" for name in names[:most]]
    if len(names) > most:
        parts.append(f"{len(names) - most} more")
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def joined(names: Sequence[str]) -> str:
    """Return names as a sentence has them: with commas, the last one after "and"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def csv_row(values: Iterable[object]) -> str:
    """Return a line of a CSV file; ``None`` is an empty cell.

    A spreadsheet takes text that begins with one of four signs, or with white space that it skips, for a formula: an
    apostrophe stands before it then. A sign alone is none, and a number neither.
    """
    text = io.StringIO()
    # Cells are quoted for what ends a line, and many readers take either sign for such an end.
    csv.writer(text, lineterminator="\r\n").writerow(
        f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value for value in values
    )
    return text.getvalue().removesuffix("\r\n") + "\n"


def _written_out(match: re.Match[str]) -> str:
    return rf"\\{match['lone']}" if match["lone"] else match.group()
