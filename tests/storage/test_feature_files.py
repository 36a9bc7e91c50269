import errno
import os
import threading
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.errors import StorageError
from clinical_backend.storage import feature_files
from clinical_backend.storage import rows as rows_module
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.rows import RowFile
from tests.disks import full_disk, read_only
from tests.storage import processes


def features_in(database, tmp_path, backbone="net", dimension=3):
    return FeatureStore(database, tmp_path / "features", backbone=backbone, dimension=dimension)


def test_features_are_kept_by_content_and_by_backbone(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(["a", "b"], np.arange(6, dtype=np.float32).reshape(2, 3))
    features.add(["b", "c"], np.full((2, 3), 9, dtype=np.float32))
    positions = features.positions(["a", "b", "c", "d"])
    assert sorted(positions) == ["a", "b", "c"]
    rows = features.read([positions["c"], positions["b"]])
    assert rows.tolist() == [[9, 9, 9], [3, 4, 5]]
    assert features_in(database, tmp_path, backbone="another").positions(["a"]) == {}
    assert features.read([]).shape == (0, 3)


def test_a_torn_row_of_a_dead_writer_is_dropped(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(["a"], np.ones((1, 3), dtype=np.float32))
    (file,) = (tmp_path / "features").glob("*.rows")
    with file.open("ab") as stream:
        stream.write(b"\x00" * 7)
    assert features.read([0]).tolist() == [[1, 1, 1]]
    features.add(["b"], np.full((1, 3), 2, dtype=np.float32))
    assert features.read([features.positions(["b"])["b"]]).tolist() == [[2, 2, 2]]


def test_a_feature_file_that_was_deleted_or_cut_short_is_made_anew(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(["a", "b", "c"], np.arange(9, dtype=np.float32).reshape(3, 3))
    (file,) = (tmp_path / "features").glob("*.rows")
    with file.open("r+b") as stream:
        stream.truncate(20)
    assert features.positions(["a", "b", "c"]) == {"a": 0}
    features.add(["d", "c"], np.array([[5, 5, 5], [7, 7, 7]], dtype=np.float32))
    positions = features.positions(["a", "b", "c", "d"])
    assert sorted(positions) == ["a", "c", "d"]
    assert features.read([positions[name] for name in "acd"]).tolist() == [[0, 1, 2], [7, 7, 7], [5, 5, 5]]
    file.unlink()
    assert features.positions(["a", "c", "d"]) == {}
    features.add(["c"], np.full((1, 3), 8, dtype=np.float32))
    assert features.positions(["a", "c", "d"]) == {"c": 0}


def test_threads_that_write_features_at_once_lose_and_mix_nothing(database, tmp_path):
    features = features_in(database, tmp_path)

    def add(start):
        for number in range(start, start + 10):
            features.add([str(number)], np.full((1, 3), number, dtype=np.float32))

    threads = [threading.Thread(target=add, args=(start,)) for start in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    positions = features.positions(str(number) for number in range(20))
    assert sorted(positions.values()) == list(range(20))
    assert all(features.read([positions[str(n)]]).tolist() == [[n, n, n]] for n in range(20))


def test_more_images_than_one_statement_may_name_are_found(database, tmp_path):
    features = features_in(database, tmp_path)
    digests = [f"digest {number}" for number in range(1500)]
    features.add(digests, np.arange(4500, dtype=np.float32).reshape(1500, 3))
    assert features.positions(digests) == {digest: row for row, digest in enumerate(digests)}


def test_writers_killed_in_mid_write_leave_no_wrong_row(database, url, tmp_path):
    dimension, batch = 2000, 40
    folder = tmp_path / "features"
    features = features_in(database, tmp_path, dimension=dimension)
    # Even numbers are added by processes that are killed, odd ones by one that lives on, all in 320 kB writes.
    survivor, _ = processes.start(processes.add_features, url, folder, dimension, batch, 1, 41)
    at_least = set(range(1, 41, 2))
    for first in (0, 200, 400):
        victim, done = processes.start(processes.add_features, url, folder, dimension, batch, first, None)
        at_least |= {done.recv() for _ in range(4)}
        victim.kill()
        victim.join()
    survivor.join()
    assert survivor.exitcode == 0
    positions = features.positions([str(number) for number in range(600 * batch)])
    rows = features.read(list(positions.values()))
    assert np.array_equal(rows, np.repeat(np.array([float(name) for name in positions])[:, None], dimension, axis=1))
    whole = {n for n in range(600) if all(str(number) in positions for number in range(n * batch, (n + 1) * batch))}
    assert whole >= at_least
    assert len(positions) == len(set(positions.values())) == batch * len(whole)
    features.add(["last"], np.full((1, dimension), -1, dtype=np.float32))
    assert (features.read([features.positions(["last"])["last"]]) == -1).all()


def test_a_process_killed_between_write_and_index_leaves_no_row(database, url, tmp_path):
    features = features_in(database, tmp_path)
    process, _ = processes.start(processes.die_between_write_and_index, url, tmp_path / "features")
    process.join()
    assert process.exitcode == -9
    assert features.positions(["a"]) == {}
    features.add(["b"], np.full((1, 3), 2, dtype=np.float32))
    assert features.read([features.positions(["b"])["b"]]).tolist() == [[2, 2, 2]]


def test_a_full_disk_is_told_and_leaves_what_was_there(database, tmp_path):
    features = features_in(database, tmp_path, dimension=1000)
    features.add(["a"], np.ones((1, 1000), dtype=np.float32))
    with full_disk(2_000_000), pytest.raises(StorageError, match=r"Features cannot be written .* Free some space"):
        features.add([str(n) for n in range(1000)], np.zeros((1000, 1000), dtype=np.float32))
    (file,) = (tmp_path / "features").glob("*.rows")
    assert file.stat().st_size == 4000
    assert features.positions(["a", "0"]) == {"a": 0}
    features.add(["b"], np.full((1, 1000), 2, dtype=np.float32))
    assert features.positions(["a", "b"]) == {"a": 0, "b": 1}


def test_a_read_only_folder_is_told_and_what_is_there_can_be_read(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(["a"], np.ones((1, 3), dtype=np.float32))
    with read_only(tmp_path / "features"):
        with pytest.raises(StorageError, match="make the folder writable"):
            features.add(["b"], np.zeros((1, 3), dtype=np.float32))
        assert features.read([features.positions(["a"])["a"]]).tolist() == [[1, 1, 1]]


def whole(features, digests, expected):
    """Return which of some images have a feature, each of which is what it should be."""
    positions = features.positions(digests)
    rows = features.read(list(positions.values()))
    for digest, row in zip(positions, rows, strict=True):
        assert row.tolist() == expected[digest].tolist()
    return set(positions)


def flip(path, offset, bits=0xFF):
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ bits]))


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_a_row_that_was_changed_on_disk_is_forgotten_and_made_anew(database, tmp_path, caplog, bits):
    features = features_in(database, tmp_path, dimension=50)
    draw = np.random.default_rng(bits)
    expected = {str(n): draw.standard_normal(50).astype(np.float32) for n in range(20)}
    features.add(list(expected), np.stack(list(expected.values())))
    (file,) = (tmp_path / "features").glob("*.rows")
    offset = int(draw.integers(file.stat().st_size))
    flip(file, offset, bits)
    hit = str(offset // 200)
    assert features.damaged(expected) == [hit]
    assert whole(features, expected, expected) == set(expected) - {hit}
    assert "1 features in" in caplog.text
    features.add(list(expected), np.stack(list(expected.values())))
    assert whole(features, expected, expected) == set(expected)
    assert features.damaged(expected) == []


def test_an_index_that_points_to_another_row_is_noticed(database, tmp_path):
    features = features_in(database, tmp_path)
    expected = {name: np.full(3, place, dtype=np.float32) for place, name in enumerate("abc")}
    features.add(list("abc"), np.stack(list(expected.values())))
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE features SET position = 1 WHERE digest = 'a'")
        session.connection().exec_driver_sql("UPDATE features SET digest = 'd' WHERE digest = 'c'")
    assert whole(features, ["a", "b", "c", "d"], expected) == {"b"}


@pytest.mark.parametrize("position", [-1, 3, 2**31 - 1])
def test_an_index_that_points_out_of_the_file_costs_a_feature(database, tmp_path, position):
    features = features_in(database, tmp_path)
    features.add(list("abc"), np.arange(9, dtype=np.float32).reshape(3, 3))
    with database.write() as session:
        session.connection().exec_driver_sql(f"UPDATE features SET position = {position} WHERE digest = 'a'")
    assert set(features.positions("abc")) == {"b", "c"}
    features.add(["a"], np.full((1, 3), 7, dtype=np.float32))
    assert features.read([features.positions("a")["a"]]).tolist() == [[7, 7, 7]]


def test_rows_of_a_version_without_checksums_get_theirs_once(database, tmp_path):
    features = features_in(database, tmp_path)
    rows = np.arange(9, dtype=np.float32).reshape(3, 3)
    rows[1, 2] = np.nan
    features.add(list("abc"), rows)
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE features SET checksum = NULL")
    assert set(features.positions("abc")) == {"a", "c"}  # what is no number is no feature
    (file,) = (tmp_path / "features").glob("*.rows")
    flip(file, 0)
    assert features.damaged("abc") == ["a"]
    assert set(features.positions("abc")) == {"c"}


def test_a_file_that_is_cut_short_between_index_and_row_is_told_by_name(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(list("abc"), np.arange(9, dtype=np.float32).reshape(3, 3))
    positions = features.positions("abc")
    (file,) = (tmp_path / "features").glob("*.rows")
    with file.open("r+b") as stream:
        stream.truncate(20)
    with pytest.raises(StorageError, match="the file was cut short"):
        features.read(list(positions.values()))


def test_damage_that_cannot_be_noted_hinders_no_reader(database, tmp_path, monkeypatch, caplog):
    features = features_in(database, tmp_path)
    features.add(list("abc"), np.arange(9, dtype=np.float32).reshape(3, 3))
    (file,) = (tmp_path / "features").glob("*.rows")
    flip(file, 0)

    def refuse():
        raise StorageError("The disk is full.", "Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", refuse)
        assert set(features.positions("abc")) == {"b", "c"}
    assert "not forgotten yet" in caplog.text
    features.add(["a"], np.zeros((1, 3), dtype=np.float32))
    assert set(features.positions("abc")) == {"a", "b", "c"}


def test_many_features_are_found_by_one_look_at_the_whole_index(database, tmp_path, monkeypatch):
    features = features_in(database, tmp_path)
    names = [f"{number:03}" for number in range(50)]
    features.add(names, np.arange(150, dtype=np.float32).reshape(50, 3))
    expected = features.positions([*names, "none"])
    monkeypatch.setattr(feature_files, "_MANY", 10)
    assert features.positions([*names[:40], "none"]) == {name: expected[name] for name in names[:40]}


def test_what_was_checked_just_now_is_not_checked_again_unless_the_file_was_touched(database, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, "_MANY", 1)
    features = features_in(database, tmp_path)
    features.add(["a", "b", "c"], np.arange(9, dtype=np.float32).reshape(3, 3))
    (file,) = (tmp_path / "features").glob("*.rows")
    checks = []
    check = FeatureStore._checked
    monkeypatch.setattr(FeatureStore, "_checked", lambda self, digests: checks.append(digests) or check(self, digests))
    whole = features.positions(["a", "b", "c"])
    assert features.positions(["c", "a"]) == {"a": whole["a"], "c": whole["c"]}
    assert len(checks) == 1
    assert features.positions(["a", "d"]) == {"a": 0}  # nobody looked whether there is a d
    assert checks[1:] == [{"d"}]
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    assert features.positions(["a", "c"]) == {"c": 2}


@pytest.fixture(scope="module")
def sixty_rows(tmp_path_factory):
    content = np.arange(480, dtype=np.uint16).astype(np.uint8).reshape(60, 8)
    file = RowFile(tmp_path_factory.mktemp("rows") / "a.rows", 8)
    file.append(content.tobytes())
    return file, content


@given(positions=st.lists(st.integers(0, 59), max_size=80), rows_at_once=st.integers(1, 9), gap=st.integers(0, 5))
def test_rows_are_read_in_any_order_and_over_any_gaps(sixty_rows, positions, rows_at_once, gap):
    file, content = sixty_rows
    with mock.patch.multiple(rows_module, _BLOCK_BYTES=8 * rows_at_once, _GAP_BYTES=8 * gap):
        assert np.array_equal(file.read(positions), content[positions].reshape(-1, 8))
        parts = [(places.tolist(), rows.tolist()) for places, rows in file.blocks([*positions, 60, 99])]
    assert sorted(place for places, _ in parts for place in places) == list(range(len(positions)))
    assert all(row == content[positions[at]].tolist() for part in parts for at, row in zip(*part, strict=True))


def test_a_sector_that_cannot_be_read_costs_its_own_rows_only(database, tmp_path, monkeypatch):
    features = features_in(database, tmp_path)
    features.add(list("abcdef"), np.arange(18, dtype=np.float32).reshape(6, 3))
    read = os.preadv

    def fail_in_the_third_row(descriptor, buffers, offset):
        if offset <= 30 < offset + sum(map(len, buffers)):
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, buffers, offset)

    signs = []
    positions = features.positions("abcdef")
    monkeypatch.setattr(rows_module.os, "preadv", fail_in_the_third_row)
    monkeypatch.setattr(rows_module, "note_progress", lambda: signs.append("alive"))
    assert features.damaged("abcdef") == ["c"]
    assert len(signs) >= 6  # each read of such a disk takes long
    with pytest.raises(StorageError, match="its disk fails"):
        features.read(list(positions.values()))


@pytest.mark.parametrize("read", [FeatureStore.read, lambda features, rows: list(features.blocks(rows))])
def test_a_row_that_cannot_be_read_since_it_was_checked_is_made_anew(database, tmp_path, monkeypatch, read):
    monkeypatch.setattr(feature_files, "_MANY", 1)
    features = features_in(database, tmp_path)
    features.add(list("abc"), np.arange(9, dtype=np.float32).reshape(3, 3))
    positions = features.positions("abc")
    whole = os.preadv

    def fail_in_the_second_row(descriptor, buffers, offset):
        if offset <= 12 < offset + sum(map(len, buffers)):
            raise OSError(errno.EIO, "Input/output error")
        return whole(descriptor, buffers, offset)

    monkeypatch.setattr(rows_module.os, "preadv", fail_in_the_second_row)
    with pytest.raises(StorageError, match="its disk fails"):
        read(features, list(positions.values()))
    assert set(features.positions("abc")) == {"a", "c"}


def test_the_index_names_features_whether_they_are_whole_or_not_but_none_beyond_the_file(database, tmp_path):
    features = features_in(database, tmp_path)
    features.add(list("abc"), np.arange(9, dtype=np.float32).reshape(3, 3))
    (file,) = (tmp_path / "features").glob("*.rows")
    flip(file, 0)
    with file.open("r+b") as stream:
        stream.truncate(24)
    assert features.indexed("abcd") == {"a", "b"}
    assert set(features.positions("abcd")) == {"b"}
