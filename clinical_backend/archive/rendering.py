"""Pictures that a browser shows, of what only a workstation does."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from clinical_backend.images.decoders.process_pool import DecoderProcesses

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PictureMaker"]


class PictureMaker:
    """Makes PNG files of DICOM and TIFF images, decoded in child processes.

    Parameters
    ----------
    processes
        How many images are decoded at a time.
    """

    def __init__(self, processes: int = 2) -> None:
        self._decoders = DecoderProcesses(processes=processes)

    def close(self) -> None:
        """End the child processes."""
        self._decoders.close()

    def count(self, data: bytes) -> int:
        """Return how many frames or pages a file has; safe in several threads.

        Raises
        ------
        ImageError
            When the child process did not survive it.
        """
        return self._decoders.count(data)

    def make(self, data: bytes, frame: int | None = None) -> bytes:
        """Return a PNG file without loss of the 8 bits that a workstation would show; safe in several threads.

        Parameters
        ----------
        data
            The encoded image.
        frame
            Of several, the number of the one that is wanted, from 0.

        Raises
        ------
        ImageError
            When the image is refused.
        """
        made = BytesIO()
        _image(self._decoders.decode(data, frame)).save(made, "PNG")
        return made.getvalue()


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return pixels of shape (height, width, 3) as an image, grey where all of them are: a third of the bytes."""
    red = pixels[:, :, 0]
    grey = (red == pixels[:, :, 1]).all() and (red == pixels[:, :, 2]).all()
    return Image.fromarray(red if grey else pixels)
