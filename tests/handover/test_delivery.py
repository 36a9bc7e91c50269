"""A folder that appears whole or not at all, whatever becomes of the process that makes it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from clinical_backend.errors import InvalidArgumentError, StorageError
from clinical_backend.handover.delivery import delivered
from tests.disks import read_only

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
