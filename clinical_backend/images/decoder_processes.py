"""Decoding in child processes, so that a file which crashes a decoder costs that image alone."""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import resource
import signal
import struct
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.decoding import PIXEL_LIMIT, decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from numpy.typing import NDArray

    Prepare = Callable[[Image.Image], NDArray[np.uint8]]

__all__ = ["DecoderProcesses"]

_HEAD = struct.Struct(">BII")
_READ, _REFUSED = 0, 1
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LONGEST_REPLY = 3 * PIXEL_LIMIT + 1024


class DecoderProcesses:
    """Decodes images in child processes, which start when first needed, and again after they died.

    A child has limits of time and memory. One that crashes, runs out of memory or takes too long is replaced,
    and its image is refused. No pickle crosses the pipe, so that a child which was taken over by a file can
    hand back wrong pixels and nothing else. Children end with the process that started them, however it ends.

    Parameters
    ----------
    prepare
        Makes what is handed back of the RGB image in the child: shape (height, width, 3), uint8. It must be
        picklable. Small squares in place of whole images make children as fast as threads.
    processes
        How many children work at a time.
    seconds
        Longest time for one image.
    memory
        Most bytes of address space of a child, where the system can limit it (Linux).
    """

    def __init__(
        self, prepare: Prepare | None = None, *, processes: int = 2, seconds: float = 60.0, memory: int = 4 * 2**30
    ) -> None:
        self._children: SimpleQueue[_Child] = SimpleQueue()
        self._count = processes
        for _ in range(processes):
            self._children.put(_Child(prepare, seconds, memory))

    def decode(self, data: bytes) -> Image.Image:
        """Return an image, decoded and prepared in a child; safe to call from several threads.

        Raises
        ------
        ImageError
            When the image is refused, or the child did not survive it.
        """
        child = self._children.get()
        try:
            return child.decode(data)
        finally:
            self._children.put(child)

    def close(self) -> None:
        """End all children; they start again if needed."""
        for child in [self._children.get() for _ in range(self._count)]:
            child.stop()
            self._children.put(child)


class _Child:
    def __init__(self, prepare: Prepare | None, seconds: float, memory: int) -> None:
        self._prepare = prepare
        self._seconds = seconds
        self._memory = memory
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def decode(self, data: bytes) -> Image.Image:
        pipe = self._pipe if self._process is not None and self._process.is_alive() else None
        pipe = pipe or self._start()
        try:
            pipe.send_bytes(data)
            if not pipe.poll(self._seconds):
                self.stop()
                raise ImageError(
                    f"Decoding the image takes more than {self._seconds:.0f} seconds.",
                    "Open it in an image viewer and save it again as PNG.",
                )
            return _image(pipe.recv_bytes(_LONGEST_REPLY))
        except (EOFError, OSError, ValueError, TypeError, struct.error):  # a dead child, or one that lost its mind
            self.stop()
            raise ImageError(
                "The image made its decoder crash or run out of memory.",
                "Open it in an image viewer and save it again as PNG.",
            ) from None

    def stop(self) -> None:
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.join()
            process.close()

    def _start(self) -> Connection:
        self.stop()
        context = multiprocessing.get_context("spawn")  # a fork would inherit locks that threads hold
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._prepare, self._memory), daemon=True, name="image decoder"
        )
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        return ours


def _image(reply: bytes) -> Image.Image:
    status, height, width = _HEAD.unpack_from(reply)
    body = memoryview(reply)[_HEAD.size :]
    if status == _REFUSED:
        problem, cure = json.loads(bytes(body))
        raise ImageError(str(problem), str(cure))
    return Image.fromarray(np.frombuffer(body, dtype=np.uint8).reshape(height, width, 3))


def _serve(pipe: Connection, prepare: Prepare | None, memory: int) -> None:
    """Decode until the pipe ends. This is the whole life of a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to end
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries print of a file may be a patient's
        os.dup2(silence, stream)
    with contextlib.suppress(ValueError, OSError):  # not every system can
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's image
    _keep_memory()
    while True:
        try:
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        pipe.send_bytes(_reply(data, prepare))


def _keep_memory() -> None:
    """Keep freed memory for the next image, where the C library can: fresh pages cost a fifth of the time."""
    with contextlib.suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, 64 * 2**20)
        allocator.mallopt(_TRIM_THRESHOLD, 128 * 2**20)


def _reply(data: bytes, prepare: Prepare | None) -> bytes:
    try:
        image = decode(data)
        pixels = np.asarray(image) if prepare is None else prepare(image)
    except ImageError as error:
        return _refusal(error)
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises costs one image
        return _refusal(
            ImageError(
                f"The image cannot be decoded ({type(error).__name__}).",
                "Open it in an image viewer and save it again as PNG.",
            )
        )
    return _HEAD.pack(_READ, *pixels.shape[:2]) + pixels.tobytes()


def _refusal(error: ImageError) -> bytes:
    return _HEAD.pack(_REFUSED, 0, 0) + json.dumps([error.problem, error.cure]).encode()
