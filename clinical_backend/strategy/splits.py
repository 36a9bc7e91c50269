"""Training, validation and test sets that share neither patients nor images."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["SPLITS", "assign_splits", "leaks", "tied", "ties_by_key"]

SPLITS = ("train", "validation", "test")


def ties_by_key(keys: Mapping[int, str]) -> NDArray[np.int64]:
    """Return pairs that tie all tasks of one key, such as a patient, to each other, shape (p, 2)."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, task), task) for task, key in keys.items()]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)


def assign_splits(
    labels: Mapping[int, Iterable[str]],
    ties: NDArray[np.int64],
    *,
    validation: float,
    test: float,
    seed: int,
) -> dict[int, str]:
    """Return the split of each task: tasks that are tied, directly or through others, get the same one.

    Tied tasks are dealt out together, those of each class by themselves (by its rarest one, where they have several),
    in an order that a hash of the seed and their least id fixes, to the split that lacks most of that class. So the
    same tasks and labels give the same splits, on every machine.

    Parameters
    ----------
    labels
        Classes, or findings, of each task.
    ties
        Pairs of tasks that must not be parted, shape (p, 2); others than these tasks are passed over.
    validation, test
        Shares of the tasks, at least 0 and below 1 together.
    seed
        Of the hash.

    Raises
    ------
    InvalidArgumentError
        When the shares leave nothing to train on.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise InvalidArgumentError(
            "test_share", "nothing is left to train on.", "Give shares of at least 0, and below 1 together."
        )
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    clusters = tied(sorted(labels), ties)
    frequency = Counter(name for names in labels.values() for name in names)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for tasks in clusters:
        names = {name for task in tasks for name in labels[task]}
        strata[min(names, key=lambda name: (frequency[name], name), default="")].append(tasks)
    splits: dict[int, str] = {}
    for _, members in sorted(strata.items()):
        total = sum(map(len, members))
        lacking = {name: share * total for name, share in shares.items()}
        for tasks in sorted(members, key=lambda one: _rank(seed, one[0])):
            # Where several lack as much: a test set is the harder to replace.
            chosen = max(lacking, key=lambda name: (lacking[name], SPLITS.index(name)))
            lacking[chosen] -= len(tasks)
            splits.update(dict.fromkeys(tasks, chosen))
    return splits


def tied(tasks: Sequence[int], ties: NDArray[np.int64]) -> list[list[int]]:
    """Return tasks that hang together, directly or through others, each cluster ascending; ``tasks`` are ascending."""
    ids = np.array(tasks, dtype=np.int64)
    known = ties[np.isin(ties, ids).all(axis=1)]
    rows, columns = np.searchsorted(ids, known[:, 0]), np.searchsorted(ids, known[:, 1])
    graph = coo_array((np.ones(len(known), dtype=np.int8), (rows, columns)), shape=(len(ids), len(ids)))
    _, codes = connected_components(graph, directed=False)
    clusters: dict[int, list[int]] = defaultdict(list)
    for task, code in zip(tasks, codes.tolist(), strict=True):
        clusters[code].append(task)
    return list(clusters.values())


def leaks(splits: Mapping[int, str], ties: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the pairs of tied tasks that stand in different splits."""
    return [
        (first, second)
        for first, second in ties.tolist()
        if first in splits and second in splits and splits[first] != splits[second]
    ]


def _rank(seed: int, task: int) -> bytes:
    return hashlib.sha256(f"{seed} {task}".encode()).digest()
