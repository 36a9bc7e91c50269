"""Text that others wrote, as logs, reports and pages show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["counted", "listed", "shown"]

_LONGEST = 60  # a class name of a dozen words; lists of some stay readable
_MOST = 10


def shown(text: str, longest: int = _LONGEST) -> str:
    """Return a text on one line and not too long; what no screen shows, or no file takes, is escaped."""
    start = text[: longest + 1]
    line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in start)
    return line if len(text) <= longest and len(line) <= longest else line[: longest - 1] + "…"


def counted(numbers: Mapping[str, int], most: int = _MOST) -> str:
    """Return names with their numbers, the most frequent first; of many only so many, and how many more there are."""
    order = sorted(numbers, key=lambda name: (-numbers[name], name))
    parts = [f"'{shown(name)}' ({numbers[name]})" for name in order[:most]]
    if len(order) > most:
        parts.append(f"and {len(order) - most} more")
    return ", ".join(parts)


def listed(names: Sequence[str], most: int = _MOST) -> str:
    """Return names in quotes, the last one after "and"; of many only so many, and how many more there are."""
    parts = [f"'{shown(name)}'" for name in names[:most]]
    if len(names) > most:
        parts.append(f"{len(names) - most} more")
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
