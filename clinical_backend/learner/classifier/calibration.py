"""Calibration: one temperature for all logits, found on examples that the classifier did not learn from.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. The order of the classes of an image stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.learner.classifier.examples import checked_labels
from clinical_backend.learner.classifier.linear import LinearClassifier

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["fit_temperature", "tempered"]

# Of the logarithm of the temperature, before any label is seen: a handful of labels must not move it far. Two thirds of
# it lie between 0.6 and 1.6, a judgement, not a measurement.
_PRIOR_DEVIATION = 0.5
_TEMPERATURES = np.geomspace(0.05, 20.0, 121)  # five per cent apart, to six deviations of the prior


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the temperature that logits are to be divided by.

    It is the likeliest under a log-normal prior about 1, every class weighing the same, as for the classifier.

    Parameters
    ----------
    logits
        Of examples that were not learnt from (``out_of_fold_logits``), shape (n, C). Examples whose own class
        has the logit −∞ tell nothing of the temperature and are left out.
    labels
        Their class indices, shape (n,).

    Returns
    -------
    float
        From 0.05 to 20; 1 where no example can be used.

    Raises
    ------
    InvalidArgumentError
        When the shapes do not match, or a value cannot be.
    """
    rows = np.asarray(logits, dtype=np.float64)
    if rows.ndim != 2 or np.isnan(rows).any():
        raise InvalidArgumentError("logits", "they are no matrix of numbers.", "Give an array of shape (n, C).")
    indices = checked_labels(labels, *rows.shape)
    usable = np.isfinite(rows[np.arange(len(rows)), indices])
    rows, indices = rows[usable], indices[usable]
    if not len(rows):
        return 1.0
    _, class_of, counts = np.unique(indices, return_inverse=True, return_counts=True)
    weights = (len(indices) / (len(counts) * counts))[class_of]
    margins = rows - rows[np.arange(len(rows)), indices][:, None]

    losses = [weights @ _log_sum_exp(margins / temperature) for temperature in _TEMPERATURES]
    penalties = 0.5 * (np.log(_TEMPERATURES) / _PRIOR_DEVIATION) ** 2
    return float(_TEMPERATURES[np.argmin(losses + penalties)])


def tempered(classifier: LinearClassifier, temperature: float) -> LinearClassifier:
    """Return a classifier whose logits are those of another, divided by a temperature.

    Raises
    ------
    InvalidArgumentError
        When the temperature is not positive.
    """
    if not (temperature > 0 and np.isfinite(temperature)):
        raise InvalidArgumentError("temperature", f"it is {temperature!r}.", "Give a positive number.")
    divisor = np.float32(temperature)
    return LinearClassifier(
        classifier.classes, classifier.weights / divisor, classifier.bias / divisor, classifier.counts
    )


def _log_sum_exp(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    peaks = rows.max(axis=1)
    sums: NDArray[np.float64] = peaks + np.log(np.exp(rows - peaks[:, None]).sum(axis=1))
    return sums
