"""What commands print: the same words everywhere, coloured where somebody looks at a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from clinical_backend.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["complain", "progress_bar", "say"]

_MOODS = {"ok": "green", "warning": "yellow", "error": "red"}
_LONGEST = 4000
"""Signs of a message: some name classes and tasks, and none fills a screen."""


def say(text: str, *, leading: int = 0, mood: str | None = None) -> None:
    """Print a line.

    Parameters
    ----------
    text
        What it says; what no screen shows is escaped, since parts come from Label Studio.
    leading
        So many signs at its beginning stand out.
    mood
        Whether what it says is ``ok``, a ``warning`` or an ``error``, for their colour; else they are bold.
    """
    _print(Console(), text, leading, _MOODS.get(mood or "", "bold"))


def complain(text: str) -> None:
    """Print to the standard error why a command ends."""
    _print(Console(stderr=True), f"clinical: {text}", len("clinical:"), _MOODS["error"])


def _print(console: Console, text: str, leading: int, style: str) -> None:
    # Colours are rich's to decide: none in a file or a pipe, nor with NO_COLOR.
    line = Text(printable(text, _LONGEST))
    line.stylize(style, 0, leading)
    console.print(line, soft_wrap=True)


@contextmanager
def progress_bar(words: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show how far a long work is, and how long it may still take."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
