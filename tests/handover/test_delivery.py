"""A folder that appears whole or not at all, whatever becomes of the process that makes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clinical_backend.errors import InvalidArgumentError, StorageError
from clinical_backend.handover.delivery import delivered
from tests.disks import full_disk, read_only, small_disk

KILLED = """
import os, signal, sys
from pathlib import Path
from clinical_backend.handover.delivery import delivered

with delivered(Path(sys.argv[1])) as delivery:
    delivery.write("half.png", b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_written_is_seen_at_the_end_alone(tmp_path):
    with delivered(tmp_path / "above" / "out") as delivery:
        with delivery.text("a/b.txt") as file:
            file.write("täxt\n")
        delivery.write("c.bin", b"\0")
        assert not (tmp_path / "above" / "out").exists()
    out = tmp_path / "above" / "out"
    assert (out / "a/b.txt").read_bytes() == "täxt\n".encode()
    assert sorted(path.name for path in out.iterdir()) == ["SHA256SUMS", "a", "c.bin"]
    assert out.stat().st_mode & 0o077 == 0
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    check = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=out, capture_output=True, check=False)
    assert check.returncode == 0


def test_a_block_that_fails_leaves_nothing(tmp_path):
    def fail():
        with delivered(tmp_path / "out") as delivery:
            delivery.write("a", b"a")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away_by_the_next_and_nothing_else(tmp_path):
    out = tmp_path / "[out]*"
    others = [tmp_path / ".[out]*.mine.part", tmp_path / ".other.1234.part"]
    for other in others:
        other.mkdir()
    assert subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 3
    assert not out.exists()
    with delivered(out) as delivery:
        delivery.write("whole", b"1")
        with delivered(tmp_path / "[out]*2") as beside:  # one that is still being made stays
            beside.write("too", b"2")
    assert sorted(tmp_path.iterdir()) == sorted([out, tmp_path / "[out]*2", *others])


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_disk_that_is_full_is_said_with_the_cure_whether_a_file_is_small_or_large(tmp_path, size):
    def fill_up():
        with full_disk(100), delivered(tmp_path / "out") as delivery:
            delivery.write("a.png", b"x" * size)

    with pytest.raises(StorageError, match="Make room"):
        fill_up()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [".", "link", "link/.."])
def test_a_name_that_no_folder_can_take_is_refused_before_anything_is_written(tmp_path, monkeypatch, there):
    (tmp_path / "empty" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "empty" / "below")
    monkeypatch.chdir(tmp_path / "empty" / "below")
    out = Path(there) if there == "." else tmp_path / there
    with pytest.raises(InvalidArgumentError, match="--out"), delivered(out):
        pass
    assert list((tmp_path / "empty" / "below").iterdir()) == []


def test_a_disk_that_is_mounted_there_is_refused_before_anything_is_written(tmp_path):
    with (
        small_disk(tmp_path / "out"),
        pytest.raises(InvalidArgumentError, match="such as one in it"),
        delivered(tmp_path / "out"),
    ):
        pytest.fail("nothing could be put in its place")


@pytest.mark.parametrize("there", ["file", "folder"])
def test_what_is_there_is_never_overwritten(tmp_path, there):
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").touch()
    with pytest.raises(InvalidArgumentError, match="something already"), delivered(out):
        pass
    assert list(tmp_path.iterdir()) == [out]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    with delivered(tmp_path / "out") as delivery:
        delivery.write("a", b"a")
    assert (tmp_path / "out" / "a").is_file()


def test_a_folder_that_cannot_be_written_is_refused_with_the_cure(tmp_path):
    (tmp_path / "closed").mkdir()
    with (
        read_only(tmp_path / "closed"),
        pytest.raises(StorageError, match="name another folder"),
        delivered(tmp_path / "closed" / "out"),
    ):
        pass
