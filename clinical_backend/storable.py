"""Text and JSON that others wrote, made such as every database, page and reply can hold.

JSON may name half of a character (a lone surrogate) and the character NUL; UTF-8 has no form for the first, and
PostgreSQL takes neither. Both are kept as JSON writes them, so that different texts stay different.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["read_json", "storable", "storable_json"]

_LONE = re.compile("[\ud800-\udfff\0]")
_SUSPECT = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole character in two halves
    r"|(?P<lone>u(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000))"
    r"|.)",
    re.DOTALL,
)


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


def _written_out(match: re.Match[str]) -> str:
    return rf"\\{match['lone']}" if match["lone"] else match.group()
