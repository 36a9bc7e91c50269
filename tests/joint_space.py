"""A simulated joint space of images and texts: no network made it.

Classes lie around directions of their own; a text lies off its class by noise, and all texts off all images by one gap,
as in the spaces of published networks (Liang et al., NeurIPS 2022).
"""

import numpy as np

from clinical_backend.lab.experiments.datasets import LabelledImages
from clinical_backend.lab.experiments.phrasings import SetWords
from clinical_backend.learner.backbones.joint_space import JointSpace, unit
from clinical_backend.learner.backbones.preprocessing import power_normalised
from clinical_backend.strategy.words import EmbeddedWords

CLASSES = ("rare", "second", "third", "fourth", "fifth", "sixth")
SPACE = JointSpace(None, 100.0)
_WIDTH = 64


def simulated_set(seed, *, images=1000, rare=30, spread=2.0):
    """Return a labelled set, its features as a backbone gives them, and the place of each class's name."""
    generator = np.random.default_rng(seed)

    def normal(count, scale=1.0):
        return scale * generator.normal(size=(count, _WIDTH)).astype(np.float32) / np.sqrt(np.float32(_WIDTH))

    centres, shared, gap = unit(normal(len(CLASSES))), unit(normal(1)), normal(1, 2.0)
    labels = np.concatenate([np.zeros(rare), generator.integers(1, len(CLASSES), images - rare)]).astype(np.int64)
    placed = unit(2 * shared + centres[labels] + normal(images, spread))
    texts = unit(gap + centres + normal(len(CLASSES), 0.7))
    pixels = [np.zeros((2, 2), dtype=np.uint8)] * images
    data = LabelledImages("simulated", CLASSES, pixels, labels, np.zeros(images, dtype=bool))
    return data, power_normalised(placed), texts


def words_for_rare(features, texts, said="rare"):
    """Return what the name of a class, against those of the others, tells of each image, as words for ``rare``."""
    place = CLASSES.index(said)
    others = np.delete(texts, [0, place], axis=0)
    words = EmbeddedWords("rare", (said,), texts[[place]], others)
    placed = SPACE.place(features)
    return SetWords(("rare",), ((said,),), words.scores(SPACE, placed)[None], words.nearest(placed)[None])
