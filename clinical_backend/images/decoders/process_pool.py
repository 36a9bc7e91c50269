"""Decoding in child processes, so that a file which crashes a decoder costs that image alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import weakref
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.child import COUNT, FRAME, HEAD, REFUSED
from clinical_backend.images.decoders.decoding import PIXEL_LIMIT, may_have_several
from clinical_backend.images.decoders.tiff_page import MOST_PAGES
from clinical_backend.study import FilePage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

    from clinical_backend.images.decoders.child import Prepare
    from clinical_backend.images.decoders.levels import Window

__all__ = ["DecoderProcesses"]

_LONGEST_REPLY = 3 * PIXEL_LIMIT + 1024  # the largest image as RGB, and what is said of it
_START_SECONDS = 300.0  # seconds, but minutes where the machine swaps; a convention


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
        Longest time for one image, in a child that has started.
    memory
        Most bytes of address space of a child, where the system can limit it (Linux).
    """

    def __init__(
        self, prepare: Prepare | None = None, *, processes: int = 2, seconds: float = 60.0, memory: int = 4 * 2**30
    ) -> None:
        self._children: SimpleQueue[_Child] = SimpleQueue()
        self._count = processes
        every = [_Child(prepare, seconds, memory) for _ in range(processes)]
        for child in every:
            self._children.put(child)
        weakref.finalize(self, _stop, every)

    def decode(self, data: bytes, frame: int | None = None, window: Window | None = None) -> NDArray[np.uint8]:
        """Return an image, decoded and prepared in a child; safe to call from several threads.

        Parameters
        ----------
        data, frame, window
            As for :func:`~clinical_backend.images.decoders.decoding.decode`.

        Returns
        -------
        NDArray
            Shape (height, width, 3), uint8, RGB. It cannot be written to.

        Raises
        ------
        ImageError
            When the image is refused, or the child did not survive it.
        """
        if frame is None and isinstance(data, FilePage):
            frame = data.page
        with self._lent() as child:
            return _pixels(child.ask(data, -1 if frame is None else frame, window))

    def count(self, data: bytes) -> int:
        """Return how many images a file has, counted in a child; safe to call from several threads.

        Raises
        ------
        ImageError
            When the child did not survive it.
        """
        if not may_have_several(data):
            return 1
        with self._lent() as child:
            _, count, _ = HEAD.unpack_from(child.ask(data, COUNT))
            return min(int(count), MOST_PAGES)

    def close(self) -> None:
        """End all children; they start again if needed."""
        for child in [self._children.get() for _ in range(self._count)]:
            child.stop()
            self._children.put(child)

    @contextmanager
    def _lent(self) -> Iterator[_Child]:
        child = self._children.get()
        try:
            yield child
        finally:
            self._children.put(child)


def _stop(children: Iterable[_Child]) -> None:
    for child in children:
        child.stop()


class _Child:
    def __init__(self, prepare: Prepare | None, seconds: float, memory: int) -> None:
        self._prepare = prepare
        self._seconds = seconds
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def ask(self, data: bytes, frame: int, window: Window | None = None) -> bytes:
        """Return the child's reply on a file and a frame of it, or COUNT."""
        pipe = self._pipe if self._process is not None and self._process.poll() is None else None
        pipe = pipe or self._start()
        try:
            pipe.send_bytes(FRAME.pack(frame, *(window or (0, 0))))
            pipe.send_bytes(data)
            if not pipe.poll(self._seconds):
                self.stop()
                raise ImageError(
                    f"Decoding the image takes more than {self._seconds:.0f} seconds.",
                    "Open it in an image viewer and save it again as PNG.",
                )
            reply = pipe.recv_bytes(_LONGEST_REPLY)
            _check_reply(reply)
            return reply
        except (EOFError, OSError, ValueError, TypeError, struct.error):  # a dead child, or one that lost its mind
            self.stop()
            raise ImageError(
                "The image made its decoder crash or run out of memory.",
                "Open it in an image viewer and save it again as PNG.",
            ) from None
        except BaseException:  # a deadline: the reply that is still to come would be taken for that on the next file
            self.stop()
            raise

    def stop(self) -> None:
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.wait()

    def _start(self) -> Connection:
        self.stop()
        ours, theirs = multiprocessing.Pipe()
        # A command, since multiprocessing starts no child in a daemonic process, and imports the main module in each.
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "clinical_backend.images.decoders.child", str(theirs.fileno()), str(self._memory)],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # it finds what we find
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        _bound(ours, self._seconds)
        self._process, self._pipe = process, ours
        # Apart from the time for an image: a machine that is busy enough to start it late would refuse good ones.
        if not self._ready(ours):
            self.stop()
            raise ImageError(
                "No decoder starts on this machine.",
                "Look whether it has memory and processes to spare; the image is tried again later.",
            )
        return ours

    def _ready(self, pipe: Connection) -> bool:
        """Tell a child what to do, and whether it says that it is ready."""
        try:
            pipe.send(self._prepare)
            return pipe.poll(_START_SECONDS) and pipe.recv_bytes(0) == b""
        except (EOFError, OSError):
            return False


def _bound(pipe: Connection, seconds: float) -> None:
    """Let no call on a pipe wait for longer: a child that is stopped takes nothing, and sends no rest of a reply."""
    limit = struct.pack("ll", *divmod(int(seconds * 1e6), 1_000_000))
    with socket.socket(fileno=os.dup(pipe.fileno())) as ours:
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, limit)


def _check_reply(reply: bytes) -> None:
    """Raise what the child refused, or a ValueError where it does not hold what it says."""
    status, height, width = HEAD.unpack_from(reply)
    body = memoryview(reply)[HEAD.size :]
    if status == REFUSED:
        problem, cure = json.loads(bytes(body))
        raise ImageError(str(problem), str(cure))
    if len(body) != 3 * height * width:
        raise ValueError("a reply of another length")


def _pixels(reply: bytes) -> NDArray[np.uint8]:
    _, height, width = HEAD.unpack_from(reply)
    return np.frombuffer(memoryview(reply)[HEAD.size :], dtype=np.uint8).reshape(height, width, 3)
