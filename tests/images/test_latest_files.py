"""A file is read once for its pages that are asked for one after the other, or at a time."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clinical_backend.images.latest_files import LatestFiles
from clinical_backend.learner.backbones.embedder import content_key


def test_pages_of_a_file_are_read_once_also_from_several_threads():
    files, reads = LatestFiles(), []
    waiting = threading.Barrier(4)

    def read():
        reads.append(1)
        return b"content"

    def page(number):
        waiting.wait()
        return files.page("a", number, read)

    with ThreadPoolExecutor(4) as threads:
        pages = list(threads.map(page, range(4)))
    assert pages == [b"content"] * 4
    assert [one.page for one in pages] == [0, 1, 2, 3]
    assert len(reads) == 1
    assert len({content_key(one) for one in pages} | {content_key(b"content")}) == 5
    digest = hashlib.sha256(b"content").hexdigest()
    assert content_key(pages[2]) == hashlib.sha256(f"{digest} page 2".encode()).hexdigest()


def test_only_the_latest_files_stay_in_memory():
    files, reads = LatestFiles(), []
    for name in ("a", "b", "a", "c", "a", "b"):
        files.page(name, 0, lambda name=name: reads.append(name) or name.encode())
    assert reads == ["a", "b", "c", "b"]


def test_a_file_that_cannot_be_read_is_read_again_by_the_next_who_asks():
    files = LatestFiles()

    def fail():
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        files.page("a", 0, fail)
    assert files.page("a", 1, lambda: b"back") == b"back"
