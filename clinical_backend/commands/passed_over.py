"""What an import or an export passed over, for the person who runs it."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clinical_backend.commands.terminal import complain, say
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clinical_backend.archive.found import PassedOver

__all__ = ["telling_passed_over"]

_NAMED_REASONS = 12  # fit on a screen; the report has all


@contextmanager
def telling_passed_over(report: Path | None) -> Iterator[list[PassedOver]]:
    """Yield a list for what is passed over, and say it at the end of the block, also of work that is broken off.

    Parameters
    ----------
    report
        A file that it is written to; ``None`` for none. One that cannot be written is refused before hours of work.

    Raises
    ------
    InvalidArgumentError
        When its folder is not there, or it is one.
    """
    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise InvalidArgumentError("--report", "there can be no such file.", "Name one in a folder that is there.")
    passed_over: list[PassedOver] = []
    try:
        yield passed_over
    except BaseException:
        if passed_over:  # of work that did not begin, an earlier report says more
            _tell(passed_over, report)
        raise
    _tell(passed_over, report)


def _tell(passed_over: Sequence[PassedOver], report: Path | None) -> None:
    from clinical_backend.archive.importer import count_reasons

    if report is not None:
        try:
            report.touch(0o600)  # others may not read a new one: paths may name patients
            with report.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                table = csv.writer(file)
                table.writerow(["file", "reason"])
                table.writerows((one.name, one.reason) for one in passed_over)
        except OSError as error:
            complain(f"The report cannot be written ({error.strerror}). Name another file by --report, and run again.")
    if passed_over:
        say(f"{len(passed_over)} passed over:", mood="warning", leading=len(str(len(passed_over))))
        reasons = count_reasons(passed_over)
        for reason, count in reasons[:_NAMED_REASONS]:
            say(f"  {count}: {reason}")
        if len(reasons) > _NAMED_REASONS:
            say(f"  and {len(reasons) - _NAMED_REASONS} other reasons.")
        if report is None:
            say("Which ones: run it again with --report FILE.")
