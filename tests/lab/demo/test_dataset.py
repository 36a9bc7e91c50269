import numpy as np
import pytest

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.demo.dataset import drawn_cells, load_dataset
from clinical_backend.lab.experiments import datasets


def test_drawn_cells_are_labelled_and_the_same_for_a_seed():
    cells = drawn_cells(40, 5, seed=1)
    assert (cells.labels == 0).sum() == 5
    assert len(cells.images) == len(cells.labels) == 40
    assert {(image.shape, image.dtype) for image in cells.images} == {((64, 64, 3), np.dtype(np.uint8))}
    assert "synthetic" in cells.origin
    again, other = drawn_cells(40, 5, seed=1), drawn_cells(40, 5, seed=2)
    assert all(np.array_equal(*pair) for pair in zip(cells.images, again.images, strict=True))
    assert not np.array_equal(cells.images[0], other.images[0])


def test_every_image_differs_so_that_each_is_a_case_of_its_own():
    assert len({image.tobytes() for image in drawn_cells(300, 10, seed=0).images}) == 300


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Return a folder with a small archive in the form of BloodMNIST; its images hold their own labels."""
    labels = np.repeat(np.arange(8), 10)
    images = np.zeros((80, 28, 28, 3), dtype=np.uint8) + labels[:, None, None, None].astype(np.uint8)
    np.savez(tmp_path / "bloodmnist.npz", train_images=images, train_labels=labels[:, None])
    monkeypatch.setenv("CLINICAL_DATA", str(tmp_path))
    return tmp_path


def test_a_named_folder_is_read_and_images_keep_their_labels(archive):
    loaded = load_dataset(30, 4, 0, archive / "cache")
    assert (loaded.labels == 0).sum() == 4
    assert [int(image[0, 0, 0]) for image in loaded.images] == loaded.labels.tolist()
    assert loaded.classes[0] == "basophil"
    assert loaded.labels.tolist() == load_dataset(30, 4, 0, archive / "cache").labels.tolist()
    assert loaded.labels.tolist() != load_dataset(30, 4, 1, archive / "cache").labels.tolist()


def test_a_named_folder_without_the_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CLINICAL_DATA", str(tmp_path))
    with pytest.raises(ClinicalError, match="CLINICAL_DATA"):
        load_dataset(30, 4, 0, tmp_path)


def test_where_nothing_can_be_downloaded_cells_are_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLINICAL_DATA", raising=False)
    monkeypatch.setattr(datasets, "_DATA_FOLDERS", ())
    monkeypatch.setattr(datasets, "_download", lambda _name, _cache: None)
    assert "drawn cells" in load_dataset(12, 2, 0, tmp_path).origin
