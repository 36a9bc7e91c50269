"""Pictures lie where Label Studio may read them, whole, also beside another import and until the disk is full."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from clinical_backend.archive.places import LocalFolder
from clinical_backend.errors import ArchiveError, ImageError


class Studio:
    """Serves a folder of files, once asked to, and may be looked at meanwhile."""

    def __init__(self, root, meanwhile=lambda: None):
        self.root, self.meanwhile, self.folders = root, meanwhile, []

    def serve_folder(self, folder, _):
        self.folders.append(folder)

    def fetch(self, address):
        self.meanwhile()
        file = self.root / address.partition("?d=")[2]
        if not self.folders or not file.exists():
            raise ImageError("It is not there.", "Look.")
        return file.read_bytes()


@pytest.fixture
def root(tmp_path):
    """A folder that everybody may read, in a process that makes private files."""
    folder = tmp_path / "files"
    folder.mkdir()
    folder.chmod(0o755)
    umask = os.umask(0o077)
    yield folder
    os.umask(umask)


def test_who_may_read_the_root_may_read_the_pictures(root):
    place, studio = LocalFolder(root, 7), Studio(root)
    place.open(studio, studio)
    (address,) = place.put({"a.png": b"picture"}).values()
    file = root / address.partition("?d=")[2]
    assert file.read_bytes() == b"picture"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.parent.parent, file.parent, file)] == [
        0o755,
        0o755,
        0o644,
    ]
    assert place.known() == {"a.png": address}


def test_two_imports_may_start_at_once(root):
    other = Studio(root)
    other.folders.append("served")
    first = Studio(root, meanwhile=lambda: LocalFolder(root, 7).open(other, other))
    LocalFolder(root, 7).open(first, first)
    assert len(first.folders) == 1
    assert list((root / "clinical-import" / "7").iterdir()) == []


@pytest.mark.parametrize("cause", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_refused_with_what_to_do_and_leaves_no_half_picture(root, monkeypatch, cause):
    place, studio = LocalFolder(root, 7), Studio(root)
    place.open(studio, studio)
    place.put({"a.png": b"whole"})

    def write(path, _):
        path.touch()
        raise OSError(cause, os.strerror(cause))

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(ArchiveError, match=f"{os.strerror(cause)}.*Make room"):
        place.put({"b.png": b"cut"})
    assert [path.name for path in (root / "clinical-import" / "7").iterdir()] == ["a.png"]


def test_a_root_that_is_not_there_is_not_made(tmp_path):
    studio = Studio(tmp_path)
    with pytest.raises(ArchiveError, match="nothing can be written"):
        LocalFolder(tmp_path / "no root", 7).open(studio, studio)
    assert not (tmp_path / "no root").exists()
