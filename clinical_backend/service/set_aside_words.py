"""The test set in words, as page and command say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.text import amount

if TYPE_CHECKING:
    from clinical_backend.findings.agreement import Agreement
    from clinical_backend.service.set_aside import Drawable, SetAside

__all__ = ["say_agreement", "say_test_set", "warnings_on_draw"]


def say_test_set(found: SetAside) -> str:
    """Say where a test set stands; a full sentence for each matter."""
    parts = [f"{found.problem}"] if found.problem else []
    if found.wish is not None:
        what = "an extension" if found.wish.extend else f"{amount(found.wish.size, 'task')} or a few more"
        parts.append(f"The next round draws {what}.")
    if found.draws:
        drawn, patients = sum(one.drawn for one in found.draws), sum(one.drawn_patients for one in found.draws)
        of = sum(one.tasks for one in found.draws)
        grouped = any(one.grouped_by for one in found.draws)
        whose = f" of {amount(patients, 'patient')}" if grouped else ""
        parts.append(f"{found.read:,} of {amount(found.size, 'task')} read{' twice' if found.wanted > 1 else ''}.")
        seeds = ", ".join(str(one.seed) for one in found.draws)
        parts.append(f"{amount(drawn, 'task')}{whose} were drawn at random from {of:,} (seed {seeds}).")
        if excluded := sum(one.excluded for one in found.draws):
            parts.append(
                f"It stands for these alone: {amount(excluded, 'task')} could not be drawn, as answered by then."
            )
        if found.joined:
            parts.append(f"{amount(found.joined, 'task')} of its patients came later and joined it.")
        if found.lost:
            parts.append(f"{amount(found.lost, 'task of it was', 'tasks of it were')} deleted in Label Studio.")
    if found.agreement is not None and found.agreement.cases:
        parts.append(say_agreement(found.agreement))
    return " ".join(parts)


def say_agreement(found: Agreement) -> str:
    """Say how far readers agree, as far as the cases carry it."""
    text = f"Readers disagree on {found.disagreements:,} of {found.cases:,} cases that two read"
    if found.alpha is None:
        return f"{text}."
    low = "" if found.alpha.low is None else f"{found.alpha.low:.2f}"
    if found.alpha.estimate is None:
        return f"{text} (Krippendorff's α at least {low})."
    high = "" if found.alpha.high is None else f" to {found.alpha.high:.2f}"
    return f"{text} (Krippendorff's α {found.alpha.estimate:.2f}, 95 % interval {low}{high})."


def warnings_on_draw(known: Drawable) -> list[str]:
    """Say what a draw would mean that a lead may not expect."""
    found = []
    if known.answered:
        found.append(
            f"{amount(known.answered, 'task is', 'tasks are')} answered already. Such tasks, and others of their"
            " patients, cannot be drawn: the test set stands for the rest alone."
        )
    if known.field is None:
        found.append(
            "GROUP_FIELD names no patient: tasks are drawn one by one, so images of one patient may stand in the test"
            " set and outside of it. Set it first, if the tasks' data says whose they are."
        )
    return found
