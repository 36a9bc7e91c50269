"""What an import or an export passed over, for the person who runs it."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from clinical_backend.commands.terminal import complain, say
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clinical_backend.archive.found import PassedOver

__all__ = ["refuse_report", "tell_passed_over"]

_NAMED_REASONS = 12  # fit on a screen; the report has all


def refuse_report(report: Path | None) -> None:
    """Refuse a report that cannot be written, before hours of work.

    Raises
    ------
    InvalidArgumentError
        When its folder is not there, or it is one.
    """
    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise InvalidArgumentError("--report", "there can be no such file.", "Name one in a folder that is there.")


def tell_passed_over(passed_over: Sequence[PassedOver], report: Path | None) -> None:
    """Say why what was not imported was not, and write it to a file where one is wanted."""
    from clinical_backend.archive.importer import count_reasons

    if report is not None:
        try:
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
