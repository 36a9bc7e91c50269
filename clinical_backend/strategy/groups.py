"""Tasks of one patient or study: never split between training and validation, and few of them in a queue."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["group_codes", "group_key", "within_cap"]

_LONGEST = 1000
"""Characters: names and numbers of patients are far shorter, and a field named by mistake may hold a report."""


def group_key(value: object, salt: str) -> str | None:
    """Return what stands for a patient or study: a salted hash, since its name may be that of a person.

    Parameters
    ----------
    value
        What the task's data says: text or a number, of which the first 1,000 characters count.
    salt
        Of this backend's database.

    Returns
    -------
    str or None
        32 hexadecimal digits; ``None`` where the value is empty or of another kind: the task stands for itself.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()[:_LONGEST]
    return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()[:32] if text else None


def group_codes(tasks: Sequence[int], groups: Mapping[int, str]) -> NDArray[np.int64]:
    """Return a number for each task, shape (n,), the same for those of one group; a task without one has its own."""
    if not groups:
        return np.unique(np.asarray(tasks, dtype=np.int64), return_inverse=True)[1].astype(np.int64, copy=False)
    codes: dict[str | int, int] = {}
    return np.array([codes.setdefault(groups.get(task, task), len(codes)) for task in tasks], dtype=np.int64)


def within_cap(
    order: Iterable[int],
    codes: NDArray[np.int64],
    cap: int,
    *,
    taken: Iterable[int] = (),
    most: int | None = None,
) -> NDArray[np.int64]:
    """Return those of an order that stay when it is walked through and full groups are passed over.

    Parameters
    ----------
    order
        Positions, best first.
    codes
        The group of each position, shape (n,).
    cap
        Most of one group.
    taken
        Positions that count towards it already.
    most
        So many are wanted at most; by default all that stay.
    """
    held = Counter(codes[list(taken)].tolist())
    kept: list[int] = []
    for place in order:
        if len(kept) == most:
            break
        code = int(codes[place])
        if held[code] < cap:
            held[code] += 1
            kept.append(int(place))
    return np.asarray(kept, dtype=np.int64)
