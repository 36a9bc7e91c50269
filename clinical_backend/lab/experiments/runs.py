"""Many simulated projects: in parallel, resumable, each a line of JSON."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.experiments.datasets import LabelledImages, load_images
from clinical_backend.lab.experiments.features import opened
from clinical_backend.lab.experiments.learners import FinetunedLearner, FixedFeatures, ResNetLearner
from clinical_backend.lab.experiments.phrasings import SetWords
from clinical_backend.lab.experiments.protocol import Protocol, draw
from clinical_backend.lab.experiments.simulation import simulate
from clinical_backend.lab.experiments.studies import STUDY_LEARNERS, StudyLearner, studies_of, tasks_of
from clinical_backend.learner.backbones.preprocessing import to_square
from clinical_backend.workspace.features import join

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.learners import Learner
    from clinical_backend.lab.experiments.protocol import Draw
    from clinical_backend.learner.backbones.base import BackboneSpec

__all__ = ["LEARNERS", "Run", "learner_of", "read_results", "run_all"]

LEARNERS = tuple(dict.fromkeys(("frozen", "adapted", "joined", "live", "finetuned", "resnet18", *STUDY_LEARNERS)))

_RESNET_SIZE = 28  # pixels, as in the papers

_PACKAGES = ("clinical-backend", "torch", "onnxruntime", "scikit-learn", "numpy")


@dataclass(frozen=True, slots=True)
class Run:
    """One simulated project.

    Attributes
    ----------
    name
        Of the protocol, for tables.
    protocol, strategy, seed
        What is simulated.
    learner
        Which features: ``frozen``, ``adapted`` to the pool, ``joined``, or ``live``, as the labels at hand say
        (frozen ones for a pool that the live round adapts no network to); or those of a network that is trained
        on the labels of each round: the backbone ``finetuned``, or the papers' ``resnet18`` from scratch. Of tasks
        with several images the image that decides by ``frozen`` features, or ``live``, or by ``STUDY_LEARNERS``.
    features
        Where those of the frozen backbone are, and those of the adapted network if it takes part.
    backbone
        Keys of what made them.
    spec
        The frozen backbone.
    words
        Where it is kept what words tell of the images, for the strategy that goes by them.
    """

    name: str
    protocol: Protocol
    strategy: str
    seed: int
    learner: str
    features: tuple[str, ...]
    backbone: str
    spec: BackboneSpec
    words: str = ""

    @property
    def key(self) -> str:
        """What identifies the run: all of its configuration."""
        return hashlib.sha256(json.dumps(self.configuration, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def configuration(self) -> dict[str, Any]:
        """All that decides the outcome, as JSON."""
        protocol = asdict(self.protocol)
        if self.protocol.images == 1:  # results of earlier versions are of these
            protocol = {name: value for name, value in protocol.items() if name not in {"images", "rare_images"}}
        return {
            "protocol": protocol,
            "strategy": self.strategy,
            "seed": self.seed,
            "learner": self.learner,
            "backbone": self.backbone,
            **({"words": Path(self.words).stem} if self.words else {}),
        }


def run_all(
    runs: Sequence[Run], results: Path, *, workers: int, data_cache: Path, progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Simulate what has no result yet, and return the results of all.

    A line is written as soon as a run ends, so an interrupted call goes on where it was.

    Parameters
    ----------
    results
        File of JSON lines.
    workers
        Processes.
    progress
        Called with the number of runs done and of all.

    Raises
    ------
    ClinicalError
        When a run cannot be done; what was done is kept.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    known = {item["key"]: item for item in read_results(results)}
    waiting = [run for run in runs if run.key not in known]
    progress(len(runs) - len(waiting), len(runs))
    if waiting:
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare_worker)
        with pool, results.open("a", encoding="utf-8") as file:
            pending = [pool.submit(_simulate, run, data_cache) for run in waiting]
            try:
                for place, done in enumerate(as_completed(pending)):
                    result = done.result()
                    file.write(json.dumps(result) + "\n")
                    file.flush()
                    known[result["key"]] = result
                    progress(len(runs) - len(waiting) + place + 1, len(runs))
            finally:
                for future in pending:
                    future.cancel()
    return [known[run.key] for run in runs]


def read_results(results: Path) -> list[dict[str, Any]]:
    """Return the results of a file of JSON lines; a last line that was cut off is left out.

    Raises
    ------
    ClinicalError
        When another line is damaged.
    """
    if not results.is_file():
        return []
    lines = results.read_text(encoding="utf-8").split("\n")
    if lines[-1]:
        with results.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines[:-1])
    try:
        return [json.loads(line) for line in lines[:-1]]
    except ValueError:
        raise ClinicalError(
            f"{results} holds a line that is no result.", "Remove it, or name another folder."
        ) from None


def _prepare_worker() -> None:
    """Give a process one core, since there are as many processes, and have it end when the parent is killed."""
    import numba  # noqa: PLC0415 - slow to import
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    threadpool_limits(limits=1)
    numba.set_num_threads(1)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@cache
def _data(name: str, data_cache: Path) -> LabelledImages:
    return load_images(name, cache=data_cache)


def learner_of(run: Run, drawn: Draw, data_cache: Path) -> Learner:
    """Return what a run learns with."""
    frozen, *adapted = (_loaded(path) for path in run.features)
    wanted = np.concatenate([drawn.pool, drawn.validation, drawn.test])
    if run.learner == "resnet18":
        return ResNetLearner(_squares(run.protocol.dataset, data_cache, _RESNET_SIZE), wanted)
    if run.learner == "finetuned":
        return FinetunedLearner(
            _squares(run.protocol.dataset, data_cache, run.spec.image_size), wanted, run.spec, frozen
        )
    if run.learner == "frozen" or not adapted:
        return FixedFeatures(frozen)
    if run.learner == "adapted":
        return FixedFeatures(*adapted)
    joined, parts = join(frozen, *adapted), (frozen.shape[1], adapted[0].shape[1])
    given = (joined,) if run.learner == "joined" else (frozen, joined)
    return FixedFeatures(*given, parts=parts)


@lru_cache(maxsize=2)
def _loaded(path: str) -> NDArray[np.float32]:
    features: NDArray[np.float32] = np.load(path)
    return features


@lru_cache(maxsize=1)
def _squares(name: str, data_cache: Path, size: int) -> NDArray[np.uint8]:
    data = _data(name, data_cache)
    return np.stack([to_square(opened(data, index), size) for index in range(len(data))])


def _simulate(run: Run, data_cache: Path) -> dict[str, Any]:
    data = _data(run.protocol.dataset, data_cache)
    studies = studies_of(run.protocol, data, run.seed)
    if studies is None:
        drawn = draw(run.protocol, data, run.seed)
        learner, frozen = learner_of(run, drawn, data_cache), _loaded(run.features[0])
        words = SetWords.read(Path(run.words)).among(drawn.rare_classes) if run.words else None
        outcome = simulate(run.protocol, drawn, data, learner, run.strategy, seed=run.seed, frozen=frozen, words=words)
    else:
        drawn = draw(tasks_of(run.protocol, studies), studies.data, run.seed)
        frozen, *adapted = (_loaded(path) for path in run.features)
        by_image = StudyLearner(studies, frozen, run.learner, *adapted)
        outcome = simulate(run.protocol, drawn, studies.data, by_image, run.strategy, seed=run.seed)
    result = {
        "key": run.key,
        "name": run.name,
        **run.configuration,
        "rare_classes": drawn.rare_classes,
        "pool": len(drawn.pool),
        **asdict(outcome),
        "versions": {package: version(package) for package in _PACKAGES},
        "cores": os.cpu_count(),
    }
    return dict(json.loads(json.dumps(result)))  # as it will be read back
