"""Values of any range and kind become 256 levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Window", "laid_on_black", "levels_between", "levels_by_percentiles", "levels_by_range", "windowed"]

_PERCENTILES = (0.1, 99.9)  # a convention: dead pixels and burnt-in letters must not set the scale


class Window(NamedTuple):
    """Which part of an image's values is spread over black to white.

    Its scale is that of the levels which are shown without a window: there 0 is black, and 256 is beyond white. So it
    is told without knowing what an image's values are, and may reach beyond what is shown first.

    Attributes
    ----------
    centre
        What becomes the grey in the middle; 128 changes nothing.
    width
        From black to white, above 0; 256 changes nothing.
    """

    centre: int
    width: int

    def between(self, low: float, high: float) -> tuple[float, float]:
        """Return what becomes black and white where values from ``low`` to ``high`` are shown without a window."""
        black, white = ((self.centre + side * self.width / 2) / 256 for side in (-1, 1))
        return low + black * (high - low), low + white * (high - low)

    def mirrored(self) -> Window:
        """Return the same of an image whose levels are inverted afterwards."""
        return Window(256 - self.centre, self.width)


def windowed(levels: NDArray[np.uint8], window: Window | None) -> NDArray[np.uint8]:
    """Return levels of any shape as a window shows them; themselves without one."""
    return levels if window is None else levels_between(levels.astype(np.float32), *window.between(0.0, 255.0))


def levels_by_range(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return unsigned values of so many bits as levels: the high 8 bits, or scaled linearly where there are fewer."""
    if bits < 8:
        table = np.rint(np.arange(2**bits) * (255.0 / (2**bits - 1))).astype(np.uint8)
        few: NDArray[np.uint8] = table[values]
        return few
    levels: NDArray[np.uint8] = (values >> (bits - 8)).astype(np.uint8)
    return levels


def levels_by_percentiles(
    values: NDArray[Any], counted: NDArray[np.bool_] | None = None, window: Window | None = None
) -> NDArray[np.uint8]:
    """Return values scaled linearly, so that their 0.1 and 99.9 percentiles become 0 and 255; constant ones are black.

    Parameters
    ----------
    values
        Any shape. NaN counts as the lower percentile, infinity as the nearer one.
    counted
        Which values the percentiles are of, of the same shape; without one that is true, all are.
    window
        What is shown instead of all between the percentiles.

    Returns
    -------
    NDArray
        Of the same shape, uint8, 0 to 255.

    Raises
    ------
    ValueError
        When no value is finite.
    """
    with np.errstate(over="ignore"):
        real = values.astype(_precision(values.dtype))
    finite = real[counted] if counted is not None and counted.any() else real.ravel()
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        raise ValueError("no finite value")
    finite *= 0.5  # percentiles between two values take their difference, which can overflow
    least, most = 2.0 * float(finite.min()), 2.0 * float(finite.max())
    low, high = (2.0 * float(half) for half in np.percentile(finite, _PERCENTILES, overwrite_input=True))
    del finite  # of a large image it is half of the memory that there is
    if high <= low:
        low, high = least, most
    return levels_between(real, *((low, high) if window is None else window.between(low, high)))


def _precision(kind: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return the float that tells neighbouring values apart: 24 bits are enough for 16-bit integers."""
    return np.float32 if kind.itemsize <= 2 or kind == np.float32 else np.float64


def levels_between(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Return values scaled linearly, so that ``low`` and ``high`` become 0 and 255, and clipped beyond.

    Without a range between them all is black.
    """
    if not high > low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = values * 0.5  # a range can overflow
    np.nan_to_num(scaled, copy=False, nan=low * 0.5, posinf=high * 0.5, neginf=low * 0.5)
    scaled -= low * 0.5
    scaled *= 255.0 / (high * 0.5 - low * 0.5)
    np.clip(scaled, 0.0, 255.0, out=scaled)
    levels: NDArray[np.uint8] = np.rint(scaled, out=scaled).astype(np.uint8)
    return levels


def laid_on_black(levels: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return levels, shape (rows, columns) or (rows, columns, 3), dimmed by an opacity from 0 to 255."""
    share = opacity.astype(np.uint16)
    product = levels * (share if levels.ndim == 2 else share[..., None])
    laid: NDArray[np.uint8] = ((product + 127) // 255).astype(np.uint8)
    return laid
