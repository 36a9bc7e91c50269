"""The command ``clinical simulate``: embed, run what has no result yet, and show tables and curves."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.curves import save_curves
from clinical_backend.lab.experiments.datasets import load_images
from clinical_backend.lab.experiments.features import adapted_features_of_set, features_of_set
from clinical_backend.lab.experiments.phrasings import words_of_set
from clinical_backend.lab.experiments.protocol import draw
from clinical_backend.lab.experiments.runs import LEARNERS, Run, run_all
from clinical_backend.lab.experiments.strategies import BY_WORDS, STRATEGIES
from clinical_backend.lab.experiments.studies import STUDY_LEARNERS, studies_of
from clinical_backend.lab.experiments.summary import markdown
from clinical_backend.lab.plotting import pyplot
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone
from clinical_backend.learner.backbones.packaged import trainable_spec
from clinical_backend.training.adaptation import LEAST_IMAGES, options_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.datasets import LabelledImages
    from clinical_backend.lab.experiments.phrasings import Phrasings
    from clinical_backend.lab.experiments.protocol import Protocol
    from clinical_backend.learner.backbones.base import Backbone, BackboneSpec

__all__ = ["Plan", "run_simulation"]

_LANDMARKS = frozenset({"oracle", "p_rare", "random"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be simulated.

    Attributes
    ----------
    protocols
        By name.
    strategies
        Names.
    learners
        Which features: of ``LEARNERS``.
    adaptation_seconds
        As the setting of this name.
    seeds
        How many seeds: 0, 1, 2 …
    backbone, image_size
        As the settings of these names.
    phrasings
        Words by class, for the strategy that goes by them; by default those that are suggested.
    folder
        Where results go: ``runs.jsonl``, ``tables.md``, and curves.
    cache
        Where downloads and features are kept.
    workers
        Runs at the same time.
    """

    protocols: Mapping[str, Protocol]
    strategies: Sequence[str]
    learners: Sequence[str]
    adaptation_seconds: float
    seeds: int
    backbone: str
    image_size: int | None
    folder: Path
    cache: Path
    workers: int
    phrasings: Phrasings | None = None


def run_simulation(plan: Plan) -> list[dict[str, Any]]:
    """Simulate a plan, write what came out, and return the results.

    What is in the folder already is not run again, so that an interrupted call goes on where it was.
    """
    _check(plan)
    pyplot()
    console = Console()
    backbone = load_backbone(plan.backbone, folder=plan.cache / "backbones", image_size=plan.image_size, device="auto")
    spec = trainable_spec(parse_backbone(plan.backbone, image_size=plan.image_size, folder=plan.cache / "backbones"))
    runs = list(_runs(plan, backbone, spec, console))
    with _progress(console, "simulated projects") as update:
        results = run_all(
            runs, plan.folder / "runs.jsonl", workers=plan.workers, data_cache=plan.cache, progress=update
        )
    write_report(results, plan.folder)
    console.print(Markdown((plan.folder / "tables.md").read_text()))
    console.print(f"Written to {plan.folder}: runs.jsonl, tables.md, and curves as PNG and SVG.")
    return results


def write_report(results: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write ``tables.md``, and curves of each protocol: with each learner, and with several side by side."""
    (folder / "tables.md").write_text(markdown(results), encoding="utf-8")
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    learners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for result in results:
        grouped[f"{result['name']}, {result['learner']}"].append(result)
        learners[result["name"], result["strategy"]].add(result["learner"])
    for result in results:
        name, strategy = result["name"], result["strategy"]
        compared = any(of == name and len(known) > 1 for (of, _), known in learners.items())
        if compared and (strategy in _LANDMARKS or len(learners[name, strategy]) > 1):
            grouped[f"{name}, side by side"].append(result)
    for title, group in grouped.items():
        name = "".join(character if character.isalnum() else "-" for character in title)
        save_curves(group, title, folder / name)


def _check(plan: Plan) -> None:
    for parameter, given, known in (
        ("strategy", plan.strategies, STRATEGIES),
        ("learner", plan.learners, LEARNERS),
    ):
        if unknown := [name for name in given if name not in known]:
            raise InvalidArgumentError(
                parameter, f"there is no {parameter} {unknown[0]!r}.", f"Choose of {', '.join(known)}."
            )


def _runs(plan: Plan, backbone: Backbone, spec: BackboneSpec, console: Console) -> Iterator[Run]:
    """Make the features that are missing, and yield what is to be run with them."""
    sets: dict[str, tuple[LabelledImages, Path]] = {}
    told: dict[str, str] = {}
    for protocol in plan.protocols.values():
        if protocol.dataset not in sets:
            data = load_images(protocol.dataset, cache=plan.cache)
            with _progress(console, f"features of {data.name}") as update:
                sets[protocol.dataset] = data, features_of_set(data, backbone, plan.cache / "features", update)
            if BY_WORDS in plan.strategies:
                told[protocol.dataset] = str(_words(plan, *sets[protocol.dataset]))
    for seed, (name, protocol) in product(range(plan.seeds), plan.protocols.items()):
        data, frozen = sets[protocol.dataset]
        studies, title = studies_of(protocol, data, seed), f"adaptation to {name}, seed {seed}"
        if studies is not None:
            run = Run(name, protocol, "", seed, "", (str(frozen),), backbone.key, spec)
            shown = np.unique(np.concatenate(studies.images_of_pool(protocol, seed)))
            adapt = partial(_adapted, plan, backbone, data, shown, title, console)
            yield from _runs_of_studies(plan, run, adapt)
            continue
        drawn = draw(protocol, data, seed)
        pool = np.setdiff1d(drawn.pool, drawn.exemplars)
        paths: dict[str, tuple[str, ...]] = {"frozen": (str(frozen),)}
        key = ""
        paths["finetuned"] = paths["resnet18"] = paths["frozen"]
        if len(pool) < LEAST_IMAGES:  # as in the live round
            paths["live"] = paths["frozen"]
        if set(plan.learners) - set(paths):
            adapted, key = _adapted(plan, backbone, data, pool, title, console)
            paths |= {learner: (str(frozen), str(adapted)) for learner in plan.learners if learner not in paths}
        for learner, strategy in product(plan.learners, plan.strategies):
            made_by = backbone.key if len(paths[learner]) == 1 else f"{backbone.key}+{key}"
            words = told.get(protocol.dataset, "") if strategy == BY_WORDS else ""
            yield Run(name, protocol, strategy, seed, learner, paths[learner], made_by, spec, words)


def _adapted(
    plan: Plan, backbone: Backbone, data: LabelledImages, pool: NDArray[np.int64], title: str, console: Console
) -> tuple[Path, str]:
    """Return the features of a network that is adapted to some of the images, and its key."""
    options = options_for(len(pool), plan.adaptation_seconds, device="auto", seed=0)
    with _progress(console, title) as update:
        return adapted_features_of_set(data, pool, backbone.sizes, options, plan.cache / "features", update)


def _words(plan: Plan, data: LabelledImages, frozen: Path) -> Path:
    """Return where it is kept what words tell of a set."""
    return words_of_set(data, np.load(frozen), plan.backbone, plan.image_size, plan.cache, plan.phrasings)


def _runs_of_studies(plan: Plan, run: Run, adapt: Callable[[], tuple[Path, str]]) -> Iterator[Run]:
    """Yield what is to be run of tasks with several images.

    Parameters
    ----------
    adapt
        Adapts a network to their images.
    """
    for learner, strategy in product(plan.learners, plan.strategies):
        if learner not in STUDY_LEARNERS:
            raise InvalidArgumentError(
                "learner", f"tasks of several images have no {learner!r}.", f"Choose of {', '.join(STUDY_LEARNERS)}."
            )
        if strategy == BY_WORDS:
            raise InvalidArgumentError(
                "strategy", f"{BY_WORDS} is simulated of single images alone.", "Choose another set, or auto."
            )
        made = replace(run, strategy=strategy, learner=learner)
        if learner == "live":
            adapted, key = adapt()  # made once, and found again
            made = replace(made, features=(*run.features, str(adapted)), backbone=f"{run.backbone}+{key}")
        yield made


@contextmanager
def _progress(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
