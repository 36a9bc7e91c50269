"""What words tell of the images of a labelled set, by a backbone of two towers; kept as features are."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.lab.experiments.datasets import DataError
from clinical_backend.lab.experiments.features import content_of
from clinical_backend.learner.backbones.joint_space import joint_space_of
from clinical_backend.learner.backbones.loading import parse_backbone, tokenizer_folder
from clinical_backend.learner.backbones.text_tower import embed_texts
from clinical_backend.service.phrasings import suggested
from clinical_backend.strategy.words import EmbeddedWords, WordScores
from clinical_backend.system.files import write_aside
from clinical_backend.text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical_backend.lab.experiments.datasets import LabelledImages
    from clinical_backend.strategy.tasks import FeaturedTasks

__all__ = ["Phrasings", "SetWords", "read_phrasings", "words_of_set"]

Phrasings = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""By class its phrasings, and the contrasts to them."""


@dataclass(frozen=True, slots=True)
class SetWords:
    """What words tell of each image of a labelled set.

    Attributes
    ----------
    findings, texts
        Classes with words, and the phrasings of each.
    log_odds, nearest
        Of each image, shape (f, n), as :class:`~clinical_backend.strategy.words.WordScores` has them of a pool.
    """

    findings: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    log_odds: NDArray[np.float32]
    nearest: NDArray[np.int64]

    def among(self, findings: Sequence[str]) -> SetWords:
        """Return those of some classes."""
        rows = [row for row, name in enumerate(self.findings) if name in findings]
        return SetWords(
            tuple(self.findings[row] for row in rows),
            tuple(self.texts[row] for row in rows),
            self.log_odds[rows],
            self.nearest[rows],
        )

    def of(self, pool: FeaturedTasks, query: FeaturedTasks) -> WordScores | None:
        """Return what they tell of a pool and of a query set, whose ids are the places of their images in the set."""
        if not self.findings:
            return None
        return WordScores(
            self.findings,
            self.texts,
            self.log_odds[:, pool.tasks],
            self.nearest[:, pool.tasks],
            cases=self.log_odds[:, query.tasks],
        )

    @classmethod
    def read(cls, path: Path) -> SetWords:
        """Return what was kept in a file."""
        with np.load(path, allow_pickle=False) as kept:
            said = json.loads(str(kept["said"]))
            return cls(tuple(said), tuple(map(tuple, said.values())), kept["log_odds"], kept["nearest"])


def read_phrasings(path: Path) -> Phrasings:
    """Read words from a file: JSON that names for each class its ``phrasings`` and ``contrasts``, lists of texts.

    Raises
    ------
    DataError
        When it is none, or a class has no phrasing.
    """
    try:
        return {
            name: (_texts(one["phrasings"], least=1), _texts(one.get("contrasts", []), least=0))
            for name, one in json.loads(path.read_bytes()).items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"The words in {path} cannot be read ({type(error).__name__}).",
            'Write JSON such as {"monocyte": {"phrasings": ["a monocyte"], "contrasts": ["a neutrophil"]}}.',
        ) from None


def _texts(given: object, *, least: int) -> tuple[str, ...]:
    if not isinstance(given, list) or len(given) < least or not all(isinstance(one, str) for one in given):
        raise TypeError("no list of texts")
    return tuple(given)


def words_of_set(
    data: LabelledImages,
    features: NDArray[np.float32],
    backbone: str,
    image_size: int | None,
    cache: Path,
    phrasings: Phrasings | None,
) -> Path:
    """Ask a backbone by words about each image of a labelled set, or find what was told before.

    Parameters
    ----------
    features
        Of the backbone, shape (n, d).
    backbone, image_size
        As the settings of these names.
    cache
        Where backbones are, in ``backbones``, and what was told is kept, in ``features``.
    phrasings
        Words by class; by default those that are suggested.

    Raises
    ------
    ModelError
        When the backbone cannot be asked by words.
    DataError
        When words are given for what is no class of the set, or for none.
    """
    if phrasings is not None and (not phrasings or not phrasings.keys() <= set(data.classes)):
        raise DataError(
            f"Words are given for {listed(sorted(phrasings)) or 'no class'}.",
            f"Name classes of {data.name}: {listed(data.classes)}.",
        )
    spec = parse_backbone(backbone, image_size=image_size, folder=cache / "backbones")
    space = joint_space_of(spec)
    words = phrasings or {name: suggested(name, data.classes) for name in data.classes}
    name = hashlib.sha256(f"{content_of(data)} {spec.key} {sorted(words.items())}".encode()).hexdigest()[:16]
    path = cache / "features" / f"{data.name}-words-{name}.npz"
    if path.is_file():
        return path
    texts = list(dict.fromkeys(text for both in words.values() for text in (*both[0], *both[1])))
    rows = embed_texts(spec, texts, tokenizer=tokenizer_folder(backbone, spec))
    space.require(rows, features.shape[1])
    placed, images = dict(zip(texts, rows, strict=True)), space.place(features)
    asked = [
        EmbeddedWords(
            finding,
            wanted,
            np.stack([placed[text] for text in wanted]),
            np.stack([placed[text] for text in against]) if against else np.empty((0, images.shape[1]), np.float32),
        )
        for finding, (wanted, against) in words.items()
    ]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        said=np.array(json.dumps({one.finding: one.texts for one in asked})),
        log_odds=np.stack([one.scores(space, images) for one in asked]),
        nearest=np.stack([one.nearest(images) for one in asked]),
    )
    write_aside(path, buffer.getvalue())
    return path
