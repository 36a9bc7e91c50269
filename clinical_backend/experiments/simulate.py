"""The command ``clinical simulate``: embed, run what has no result yet, and show tables and curves."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clinical_backend.experiments.curves import save_curves
from clinical_backend.experiments.datasets import load_images
from clinical_backend.experiments.features import features_of_set
from clinical_backend.experiments.runs import Run, run_all
from clinical_backend.experiments.summary import markdown
from clinical_backend.learner.backbones import load_backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from clinical_backend.experiments.protocol import Protocol
    from clinical_backend.learner.backbones import Backbone

__all__ = ["Plan", "run_simulation"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be simulated.

    Attributes
    ----------
    protocols
        By name.
    strategies
        Names.
    seeds
        How many seeds: 0, 1, 2 …
    backbone, image_size
        As the settings of these names.
    folder
        Where results go: ``runs.jsonl``, ``tables.md``, and curves.
    cache
        Where downloads and features are kept.
    workers
        Runs at the same time.
    """

    protocols: Mapping[str, Protocol]
    strategies: Sequence[str]
    seeds: int
    backbone: str
    image_size: int
    folder: Path
    cache: Path
    workers: int


def run_simulation(plan: Plan) -> list[dict[str, Any]]:
    """Simulate a plan, write what came out, and return the results.

    What is in the folder already is not run again, so that an interrupted call goes on where it was.
    """
    console = Console()
    backbone = load_backbone(plan.backbone, folder=plan.cache / "backbones", image_size=plan.image_size, device="auto")
    features = _embed(plan, backbone, console)
    learner = f"frozen {backbone.name} at {plan.image_size} px"
    runs = [
        Run(name, protocol, strategy, seed, learner, str(features[protocol.dataset]), backbone.key)
        for seed, (name, protocol), strategy in product(range(plan.seeds), plan.protocols.items(), plan.strategies)
    ]
    with _progress(console, "simulated projects") as update:
        results = run_all(
            runs, plan.folder / "runs.jsonl", workers=plan.workers, data_cache=plan.cache, progress=update
        )
    write_report(results, plan.folder)
    console.print(Markdown((plan.folder / "tables.md").read_text()))
    console.print(f"Written to {plan.folder}: runs.jsonl, tables.md, and curves as PNG and SVG.")
    return results


def write_report(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write ``tables.md`` and the curves of each protocol."""
    (folder / "tables.md").write_text(markdown(results), encoding="utf-8")
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        grouped[f"{result['name']}, {result['learner']}"].append(result)
    for title, group in grouped.items():
        name = "".join(character if character.isalnum() else "-" for character in title)
        save_curves(group, title, folder / name)


def _embed(plan: Plan, backbone: Backbone, console: Console) -> dict[str, Path]:
    found = {}
    for dataset in dict.fromkeys(protocol.dataset for protocol in plan.protocols.values()):
        data = load_images(dataset, cache=plan.cache)
        with _progress(console, f"features of {data.name}") as update:
            found[dataset] = features_of_set(data, backbone, plan.cache / "features", update)
    return found


@contextmanager
def _progress(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
