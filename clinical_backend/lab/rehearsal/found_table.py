"""A rehearsal as tables, and as a chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from clinical_backend.lab.experiments.curves import save_found
from clinical_backend.lab.experiments.summary import standard_error
from clinical_backend.lab.rehearsal.rehearsal import OWN, labels_to
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clinical_backend.lab.experiments.simulation import Outcome
    from clinical_backend.lab.rehearsal.rehearsal import Rehearsal

__all__ = ["heading_of", "tables", "write_rehearsal"]

_SHARES = (0.5, 0.9)


def heading_of(done: Rehearsal) -> str:
    """Return what was rehearsed, in a sentence."""
    repeats = len(done.outcomes[OWN])
    return (
        f"{amount(repeats, 'repeat')} of {amount(done.labels, 'label')} among {amount(done.tasks, 'task')}, of which"
        f" {done.rare:.0f} are rare ({', '.join(done.pools.rare_classes)}) beside the exemplars at the start;"
        f" a round after {amount(done.trials[0].pace(done.labels), 'label')}."
    )


def tables(done: Rehearsal) -> Iterator[Table]:
    """Yield the table of what was found, and one by class where several are rare."""
    table = Table(title="Rare cases found: mean ± standard error over the repeats", title_justify="left")
    table.add_column("what was tried")
    for heading in (
        *(f"{stop} labels" for stop in done.stops),
        f"beside yours after {done.labels}",
        *(f"labels to {share:.0%}" for share in _SHARES),
        *(["labels nobody gave"] if done.pools.kind == "whole" else []),
    ):
        table.add_column(heading, justify="right")
    own = done.outcomes[OWN]
    for trial in done.trials:
        outcomes = done.outcomes.get(trial.name, [])
        if not outcomes:
            table.add_row(trial.name, *["not finished"])
            continue
        gaps = [one.found[-1] - base.found[-1] for one, base in zip(outcomes, own, strict=False)]
        table.add_row(
            trial.name,
            *(_cell([_found(one, stop) for one in outcomes]) for stop in done.stops),
            "" if trial.name == OWN else _cell(gaps, sign=True),
            *(_until(labels_to(outcomes, share)) for share in _SHARES),
            *([_cell(done.unanswered[trial.name])] if done.pools.kind == "whole" else []),
            style="bold" if trial.name == OWN else None,
        )
    yield table
    if len(done.pools.rare_classes) > 1:
        yield _by_class(done)


def _by_class(done: Rehearsal) -> Table:
    names = done.pools.rare_classes
    table = Table(title=f"The same by class, after {done.labels} labels", title_justify="left")
    table.add_column("what was tried")
    for name in names:
        table.add_column(name, justify="right")
    for trial in done.trials:
        if outcomes := done.outcomes.get(trial.name):
            cells = [_cell([one.classes_found[name][-1] for one in outcomes]) for name in names]
            table.add_row(trial.name, *cells)
    return table


def write_rehearsal(done: Rehearsal, folder: Path) -> None:
    """Write ``rehearsal.json``, and the curves as ``rehearsal.svg`` and ``rehearsal.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rehearsal.json").write_text(json.dumps(done.to_json(), indent=2) + "\n", encoding="utf-8")
    curves = {trial.name: [one.found for one in done.outcomes.get(trial.name, [])] for trial in done.trials}
    title = f"{done.pools.data.name}: {', '.join(done.pools.rare_classes)}"
    save_found({name: runs for name, runs in curves.items() if runs}, title, folder / "rehearsal")


def _found(one: Outcome, labels: int) -> int:
    return one.found[min(labels, len(one.found)) - 1]


def _until(labels: Sequence[int | None]) -> str:
    """Say after how many labels a share was found, and in how many repeats it was not."""
    reached = [count for count in labels if count is not None]
    missed = len(labels) - len(reached)
    if not reached:
        return "not reached"
    return _cell(reached, digits=0) + (f" (not in {missed} of {len(labels)})" if missed else "")


def _cell(values: Sequence[float], *, sign: bool = False, digits: int = 1) -> str:
    mean = f"{np.mean(values):{'+' if sign else ''}.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {standard_error(values):.{digits}f}"
