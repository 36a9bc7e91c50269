"""A file is read once for its pages that are asked for one after the other, or at a time."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clinical_backend.images import latest_files
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


def test_only_the_latest_files_stay_in_memory_as_far_as_there_is_room(monkeypatch):
    monkeypatch.setattr(latest_files, "_KEPT_BYTES", 2)
    files, reads = LatestFiles(), []
    for name in ("a", "b", "a", "c", "a", "b"):
        files.page(name, 0, lambda name=name: reads.append(name) or name.encode())
    assert reads == ["a", "b", "c", "b"]


def test_many_small_files_stay_so_that_their_hosts_can_take_turns():
    files, reads = LatestFiles(), []
    for number in 2 * [*range(40)]:
        files.page(number, 0, lambda number=number: reads.append(number) or bytes(1000))
    assert len(reads) == 40
    files.forget()
    files.page(1, 0, lambda: reads.append(1) or b"")
    assert len(reads) == 41


def test_a_file_that_was_read_a_while_ago_is_read_again_since_it_may_have_been_replaced(monkeypatch):
    files = LatestFiles()
    assert files.page("a", 0, lambda: b"old").fetched
    assert not files.page("a", 1, lambda: b"new").fetched
    monkeypatch.setattr(latest_files, "_KEPT_SECONDS", 0.0)
    assert files.page("a", 2, lambda: b"new") == b"new"


def test_a_file_that_cannot_be_read_is_read_again_by_the_next_who_asks():
    files = LatestFiles()

    def fail():
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        files.page("a", 0, fail)
    assert files.page("a", 1, lambda: b"back") == b"back"
