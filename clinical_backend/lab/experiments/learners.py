"""What a simulated project learns with: features that are given, or a network trained on the labels of each round."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clinical_backend.learner.finetuning.network import FinetunedBackbone, save_finetuned
from clinical_backend.learner.finetuning.options import FinetuningOptions
from clinical_backend.strategy.representation import choose_representation
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from clinical_backend.learner.backbones.base import BackboneSpec
    from clinical_backend.learner.classifier.linear import LinearClassifier

__all__ = ["FinetunedLearner", "FixedFeatures", "Learner", "ResNetLearner"]


class Learner(Protocol):
    """Turns what is labelled into features of all images, and perhaps a classifier of its own.

    Attributes
    ----------
    parts
        Lengths of the parts that joined features consist of; empty where none are joined.
    with_frozen
        As in the inputs of a round, of what was learnt last.
    of_target
        Features by class, where each of several that are looked for has its own, of what was learnt last.
    """

    parts: tuple[int, ...]
    with_frozen: bool
    of_target: Mapping[str, NDArray[np.float32]]

    def learn(
        self, labels: Mapping[int, str], query: Sequence[int], pool: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float32], LinearClassifier | None]:
        """Learn from the labels of a round.

        Parameters
        ----------
        labels
            Class by image.
        query
            Images of the query set.
        pool
            Images without a label.
        seed
            Of what is random.

        Returns
        -------
        tuple
            Features of the whole labelled set, shape (n, d), float32, and a classifier of them; ``None`` where
            the round fits its own.
        """
        ...


class FixedFeatures:
    """Features that no label changes.

    Parameters
    ----------
    representations
        Features of the whole labelled set, shape (n, d), float32. Of two, frozen and joined, the labels at hand
        decide in every round, as in the live one.
    parts
        Lengths of the parts of joined features.
    """

    def __init__(self, *representations: NDArray[np.float32], parts: tuple[int, ...] = ()) -> None:
        self._representations = representations
        self.parts = parts
        self.with_frozen = False
        self.of_target: Mapping[str, NDArray[np.float32]] = {}

    def learn(
        self, labels: Mapping[int, str], query: Sequence[int], pool: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float32], LinearClassifier | None]:
        """Choose the representation that the live round would take."""
        if len(self._representations) == 1:
            return self._representations[0], None
        known, rare = np.unique(np.asarray(list(labels), dtype=np.int64)), np.asarray(query, dtype=np.int64)

        def inputs_of(features: NDArray[np.float32], parts: tuple[int, ...]) -> Inputs:
            labelled, others, sought = (FeaturedTasks(tasks, features[tasks], parts) for tasks in (known, pool, rare))
            return Inputs.of(labelled, others, sought)

        frozen, joined = map(inputs_of, self._representations, ((), self.parts))
        chosen, _ = choose_representation(frozen, joined, seed=seed)
        self.with_frozen = chosen.with_frozen
        return self._representations[int(chosen is not frozen)], None


class ResNetLearner:
    """The papers' learner: a ResNet-18 from scratch in every round, its last layer the features.

    Parameters
    ----------
    images
        The whole labelled set, shape (n, 28, 28, 3), uint8.
    wanted
        Images of the set whose features anyone looks at; others stay 0.
    """

    parts: tuple[int, ...] = ()
    with_frozen = False

    def __init__(self, images: NDArray[np.uint8], wanted: NDArray[np.int64]) -> None:
        self._images = images
        self._wanted = wanted
        self.of_target: Mapping[str, NDArray[np.float32]] = {}

    def learn(
        self, labels: Mapping[int, str], query: Sequence[int], pool: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float32], LinearClassifier | None]:
        """Train anew."""
        from clinical_backend.lab.experiments.distil import train_resnet18  # noqa: PLC0415 (imports torch)

        del query, pool
        tasks, codes, classes = _coded(labels)
        trained = train_resnet18(self._images[tasks], codes, classes, seed=seed, cpu_threads=1)
        features = np.zeros((len(self._images), 512), dtype=np.float32)
        features[self._wanted] = trained.features(self._images[self._wanted])
        return features, (trained.last_layer(np.bincount(codes)) if len(classes) > 1 else None)


class FinetunedLearner:
    """The backbone, fine-tuned on the labels of each round (TRAINING=finetune).

    Parameters
    ----------
    images
        The whole labelled set in the backbone's size, shape (n, s, s, 3), uint8.
    wanted
        Images of the set whose features anyone looks at; others stay 0.
    spec
        The backbone.
    frozen
        Its features of the whole set, for as long as one class alone is labelled.
    """

    parts: tuple[int, ...] = ()
    with_frozen = False

    def __init__(
        self,
        images: NDArray[np.uint8],
        wanted: NDArray[np.int64],
        spec: BackboneSpec,
        frozen: NDArray[np.float32],
    ) -> None:
        self._images = images
        self._wanted = wanted
        self._spec = spec
        self._frozen = frozen
        self.of_target: Mapping[str, NDArray[np.float32]] = {}

    def learn(
        self, labels: Mapping[int, str], query: Sequence[int], pool: NDArray[np.int64], seed: int
    ) -> tuple[NDArray[np.float32], LinearClassifier | None]:
        """Fine-tune anew, from the backbone."""
        from clinical_backend.learner.finetuning.training import finetune  # noqa: PLC0415 (imports torch)

        del query, pool
        tasks, codes, classes = _coded(labels)
        if len(classes) < 2:
            return self._frozen, None
        network = finetune(
            self._images[tasks],
            codes,
            classes,
            self._spec,
            FinetuningOptions(seconds=3600.0, seed=seed, threads=1),
            progress=lambda *_: None,
        )
        features = np.zeros((len(self._images), network.dimension), dtype=np.float32)
        with tempfile.TemporaryDirectory() as folder:
            save_finetuned(Path(folder), network)
            backbone = FinetunedBackbone(Path(folder), threads=1)
            for part in np.array_split(self._wanted, len(self._wanted) // 256 + 1):
                features[part] = backbone.embed(self._images[part])
        return features, network.head


def _coded(labels: Mapping[int, str]) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    tasks = np.asarray(sorted(labels), dtype=np.int64)
    classes, codes = np.unique([labels[int(task)] for task in tasks], return_inverse=True)
    return tasks, codes.astype(np.int64), tuple(classes.tolist())
