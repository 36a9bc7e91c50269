"""A decoder that dies costs one image, and the next one finds another decoder."""

import ctypes
import gc
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from clinical_backend.errors import ImageError, RoundTimeoutError
from clinical_backend.images.decoders.decoding import decode
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from clinical_backend.study import FilePage
from clinical_backend.system.deadline import deadline

CRASH, HANG, DEVOUR, LIE = (1, 1), (2, 1), (3, 1), (1, 2)


def hostile(image):
    """Stand in for a decoder that a file makes crash: no file is known to do that to the present ones."""
    if image.size == CRASH:
        ctypes.string_at(0)  # a segmentation fault
    if image.size == HANG:
        signal.pause()
    if image.size == DEVOUR:
        return np.ones((1 << 40, 1, 3), dtype=np.uint8)
    if image.size == LIE:
        return np.zeros((2, 2), dtype=np.uint8)  # less than it says
    return np.asarray(image)[:1, :1]


def png(width, height, seed=0):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def decoders():
    pool = DecoderProcesses(processes=2)
    yield pool
    pool.close()


def test_an_image_comes_back_as_it_would_be_decoded_here(decoders):
    data = png(30, 20)
    assert np.array_equal(decoders.decode(data), decode(data))


def test_many_threads_share_the_children_and_each_gets_its_own_image(decoders):
    images = [png(5, 5, seed) for seed in range(40)]
    with ThreadPoolExecutor(5) as threads:
        decoded = list(threads.map(decoders.decode, images))
    assert all(np.array_equal(image, decode(data)) for image, data in zip(decoded, images, strict=True))


def test_a_refusal_comes_back_with_its_cure(decoders):
    with pytest.raises(ImageError, match="is empty") as refusal:
        decoders.decode(b"")
    assert refusal.value.cure == "Upload the file again."


@pytest.mark.parametrize(
    ("size", "message"), [(CRASH, "crash or run out of memory"), (DEVOUR, "MemoryError"), (LIE, "crash or run")]
)
def test_what_kills_a_decoder_is_refused_and_the_next_image_is_read(size, message):
    pool = DecoderProcesses(hostile, processes=1)
    with pytest.raises(ImageError, match=message):
        pool.decode(png(*size))
    assert pool.decode(png(4, 4)).shape == (1, 1, 3)
    pool.close()


def test_what_never_ends_is_refused_in_time():
    pool = DecoderProcesses(hostile, processes=1, seconds=0.5)
    with pytest.raises(ImageError, match="takes more than"):
        pool.decode(png(*HANG))
    pool.close()


def test_a_child_that_is_stopped_keeps_nobody_waiting():
    pool = DecoderProcesses(processes=1, seconds=2.0)
    before = set(psutil.Process().children())
    pool.decode(png(2, 2))
    (child,) = set(psutil.Process().children()) - before
    child.send_signal(signal.SIGSTOP)
    with pytest.raises(ImageError):
        pool.decode(bytes(8 * 2**20))  # more than a pipe holds
    assert not child.is_running()
    assert pool.decode(png(2, 2)).shape == (2, 2, 3)
    pool.close()


def test_after_a_deadline_nobody_gets_the_reply_on_another_file():
    late = RoundTimeoutError("Too late.", "Be quick.")
    pool = DecoderProcesses(processes=1)
    before = set(psutil.Process().children())
    pool.decode(png(2, 2))
    (child,) = set(psutil.Process().children()) - before
    child.send_signal(signal.SIGSTOP)
    with pytest.raises(RoundTimeoutError), deadline(0.3, late):
        pool.decode(png(3, 3))
    if child.is_running():
        child.send_signal(signal.SIGCONT)
    assert pool.decode(png(4, 4)).shape == (4, 4, 3)
    pool.close()


def test_a_child_that_does_not_start_is_not_blamed_on_the_image(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    pool = DecoderProcesses(processes=1)
    with pytest.raises(ImageError, match="No decoder starts"):
        pool.decode(png(2, 2))
    monkeypatch.undo()
    assert pool.decode(png(2, 2)).shape == (2, 2, 3)
    pool.close()


def test_no_child_is_left_after_closing():
    before = set(psutil.Process().children())
    pool = DecoderProcesses(processes=1)
    pool.decode(png(2, 2))
    (child,) = set(psutil.Process().children()) - before
    pool.close()
    assert not child.is_running()


def test_children_end_with_what_forgets_them():
    before = set(psutil.Process().children())
    DecoderProcesses(processes=1).decode(png(2, 2))
    gc.collect()
    assert set(psutil.Process().children()) <= before


def test_a_daemonic_process_decodes_too():
    process = multiprocessing.get_context("spawn").Process(target=decode_one, daemon=True)
    process.start()
    process.join(240)
    assert process.exitcode == 0


def decode_one():
    pool = DecoderProcesses(processes=1)
    assert pool.decode(png(2, 2)).shape == (2, 2, 3)
    pool.close()


PARENT = """
import io, sys, time
from clinical_backend.images.decoders.process_pool import DecoderProcesses
from tests.images.decoders.test_process_pool import png
if __name__ == "__main__":
    pool = DecoderProcesses(processes=1)
    pool.decode(png(2, 2))
    import psutil
    print(psutil.Process().children()[0].pid, flush=True)
    time.sleep(600)
"""


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([child], timeout=120)
    assert not child.is_running()


def test_a_child_counts_the_pages_of_a_file_and_reads_the_one_that_is_meant(decoders):
    file = io.BytesIO()
    first, second = (Image.new("RGB", (4, 4), (level,) * 3) for level in (10, 200))
    first.save(file, "TIFF", save_all=True, append_images=[second])
    data = file.getvalue()
    assert decoders.count(data) == 2
    assert decoders.count(png(3, 3)) == 1
    assert decoders.count(data[:4]) == 1
    assert decoders.decode(FilePage.of(data, "digest", 1)).mean() == 200
    assert decoders.decode(data).mean() == 10
