"""Labelled images for experiments: a folder per class, a table of files, an archive of MedMNIST or HAM10000."""

from __future__ import annotations

import csv
import io
import os
import socket
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from clinical_backend.errors import ClinicalError
from clinical_backend.lab.experiments.mosaics import mosaics
from clinical_backend.multilabel import pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Picture: TypeAlias = bytes | Image.Image

__all__ = ["MEDMNIST_CLASSES", "DataError", "LabelledImages", "find_set", "load_images", "medmnist_archive"]

_DATA_FOLDERS = ("data", "../shared/data")
_DOWNLOAD_SECONDS = 20.0
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
_HELD_OUT = 0.3
_MOSAICS = "mosaics:"
_THERE = frozenset({"1", "1.0", "true", "True", "yes"})
"""What stands in a column of a finding that is there; all else, uncertain ones too, counts as absent."""
MEDMNIST_CLASSES = {
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocyte",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "breastmnist": ("malignant", "benign"),
    "pneumoniamnist": ("normal", "pneumonia"),
}
"""Names of the classes of MedMNIST sets, in the order of their codes."""


class DataError(ClinicalError):
    """A labelled set cannot be read."""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """A labelled set.

    Attributes
    ----------
    name
        Of the set.
    classes
        Names of the C classes.
    images
        The n images: pixels of shape (height, width) or (height, width, 3), uint8, or encoded bytes.
    labels
        Class index of each, shape (n,).
    held_out
        Which images serve to test classifiers and are never in a pool, shape (n,), bool.
    shows
        Where an image may have several findings: which classes each shows, shape (n, C), bool. ``labels`` are then
        numbers of their combinations.
    studies
        Which study each belongs to, shape (n,); ``None`` where each image is a task of its own.
    answers
        What a reader says of each image, where that is more than what it shows: of some findings nothing may be said.
    """

    name: str
    classes: tuple[str, ...]
    images: Sequence[NDArray[np.uint8] | bytes]
    labels: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    shows: NDArray[np.bool_] | None = None
    studies: NDArray[np.str_] | None = None
    answers: Sequence[str] | None = None

    @classmethod
    def of_findings(
        cls,
        name: str,
        findings: tuple[str, ...],
        images: Sequence[NDArray[np.uint8] | bytes],
        shows: NDArray[np.bool_],
        held_out: NDArray[np.bool_],
    ) -> LabelledImages:
        """Return a set whose images may have several findings."""
        _, combinations = np.unique(shows, axis=0, return_inverse=True)
        return cls(name, findings, images, combinations.ravel().astype(np.int64), held_out, shows)

    def members(self, name: str) -> NDArray[np.bool_]:
        """Return which images are of a class, or show a finding, shape (n,)."""
        code = self.classes.index(name)
        return self.labels == code if self.shows is None else self.shows[:, code]

    def label(self, index: int) -> str:
        """Return what a reader says of an image: its class, or its findings."""
        if self.answers is not None:
            return self.answers[index]
        if self.shows is None:
            return self.classes[int(self.labels[index])]
        return pack(name for name, there in zip(self.classes, self.shows[index], strict=True) if there)

    def __len__(self) -> int:
        return len(self.labels)

    def picture(self, index: int) -> Picture:
        """Return an image in the form in which an embedder takes it."""
        image = self.images[index]
        return image if isinstance(image, bytes) else Image.fromarray(image).convert("RGB")


def load_images(name: str, *, cache: Path, seed: int = 0) -> LabelledImages:
    """Read a labelled set.

    Parameters
    ----------
    name
        A path, or the name of a set of MedMNIST or of a file in the data folder. A folder or a zip archive
        holds a folder per class, under `train` and `test` where it is split; a table (CSV) has the columns
        image and label, and split where it is split, with paths beside it, and study where several images are one
        task, whose class is the rarest of theirs; one with the column image and a column of 0 and 1 for each finding,
        likewise split; an archive (npz) is as MedMNIST
        makes it; a zip archive with a table of the columns image_id, dx and lesion_id is as HAM10000, of which the
        first image of each lesion is taken: two views of one would stand in training and test. A set that is not
        split has 30 % of each class held out. ``mosaics:`` and rare classes are mosaics of four cells of BloodMNIST.
    cache
        Where a downloaded set is kept.
    seed
        Of the split, where the set has none.

    Raises
    ------
    DataError
        When there is no such set, or it is empty or damaged.
    """
    if name.startswith(_MOSAICS):
        return _mosaics(name, cache, seed)
    path = find_set(name, cache)
    try:
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES]
            rows = [(file.relative_to(path).as_posix(), file.read_bytes()) for file in sorted(files)]
            found = _of_folders(path.name, rows, seed)
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = sorted(item for item in archive.namelist() if PurePosixPath(item).suffix.lower() in _SUFFIXES)
                table = next((item for item in archive.namelist() if item.endswith("metadata.csv")), None)
                if table is None:
                    found = _of_folders(path.stem, [(item, archive.read(item)) for item in names], seed)
                else:
                    found = _of_lesions(path.stem, archive, table, names, seed)
        elif path.suffix == ".csv":
            found = _of_table(path, seed)
        else:
            found = _of_medmnist(path, seed)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The labelled set {path.name} cannot be read ({type(error).__name__}).",
            "Give a folder per class, a CSV with the columns image and label, or an npz of MedMNIST.",
        ) from None
    if found.shows is None and len(set(found.labels[~found.held_out].tolist())) < 2:
        raise DataError(
            f"The labelled set {path.name} has fewer than two classes.",
            "Give images of at least two classes, each in a folder named after its class.",
        )
    return found


def medmnist_archive(name: str, cache: Path) -> Path | None:
    """Return the archive of a set of MedMNIST (Yang et al. 2023): from CLINICAL_DATA, else downloaded.

    ``None`` where it is not there and cannot be downloaded.

    Raises
    ------
    DataError
        When CLINICAL_DATA names a folder that lacks it.
    """
    named = os.environ.get("CLINICAL_DATA")
    for folder in (named,) if named else _DATA_FOLDERS:
        archive = Path(folder) / f"{name}.npz"
        if archive.is_file():
            return archive
    if named:
        raise DataError(
            f"CLINICAL_DATA names a folder without {name}.npz: {named}.",
            "Put the file there, or unset CLINICAL_DATA to have it downloaded.",
        )
    return _download(name, cache)


def find_set(name: str, cache: Path) -> Path:
    """Return where a labelled set lies, as :func:`load_images` takes it by name.

    Raises
    ------
    DataError
        When there is none.
    """
    folders = [Path(), *(Path(folder) for folder in (os.environ.get("CLINICAL_DATA"), *_DATA_FOLDERS) if folder)]
    for folder in folders:
        for suffix in ("", ".npz", ".zip", ".csv"):
            path = folder / f"{name}{suffix}"
            if path.exists():
                return path
    archive = medmnist_archive(name, cache) if name in MEDMNIST_CLASSES else None
    if archive is None:
        raise DataError(
            f"There is no labelled set {name!r}.",
            f"Give a path, put it into the folder CLINICAL_DATA, or take one of {', '.join(MEDMNIST_CLASSES)}, "
            "which are downloaded where there is a network. `clinical simulate --help` names settings of the report.",
        )
    return archive


def _download(name: str, cache: Path) -> Path | None:
    archive = cache / f"{name}.npz"
    if archive.is_file():
        return archive
    import medmnist  # noqa: PLC0415 - imports much, and only here

    description = medmnist.INFO.get(name)
    if description is None:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        getattr(medmnist, description["python_class"])(split="train", root=str(cache), download=True)
    except (OSError, RuntimeError):  # medmnist raises RuntimeError for whatever went wrong
        archive.unlink(missing_ok=True)
        return None
    finally:
        socket.setdefaulttimeout(waited)
    return archive if archive.is_file() else None


def _of_folders(name: str, rows: list[tuple[str, bytes]], seed: int) -> LabelledImages:
    parts = [PurePosixPath(path).parts for path, _ in rows]
    split = {"train", "test"} <= {part for path in parts for part in path[:-2]}
    tested = ["test" in path[:-2] for path in parts] if split else None
    return _assemble(name, [data for _, data in rows], [path[-2] for path in parts], tested, seed)


def _of_lesions(name: str, archive: zipfile.ZipFile, table: str, names: list[str], seed: int) -> LabelledImages:
    images = {PurePosixPath(item).stem: item for item in names}
    with archive.open(table) as file:
        rows = sorted(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")), key=lambda row: row["image_id"])
    first = list({row["lesion_id"]: row for row in reversed(rows)}.values())[::-1]
    return _assemble(
        name, [archive.read(images[row["image_id"]]) for row in first], [row["dx"] for row in first], None, seed
    )


def _mosaics(name: str, cache: Path, seed: int) -> LabelledImages:
    cells = load_images("bloodmnist", cache=cache)
    rare = name.removeprefix(_MOSAICS).split(",")
    if unknown := [one for one in rare if one not in cells.classes]:
        raise DataError(f"BloodMNIST has no class {unknown[0]!r}.", f"Choose of: {', '.join(cells.classes)}.")
    pixels = [image for image in cells.images if not isinstance(image, bytes)]
    codes = [cells.classes.index(one) for one in rare]
    made, shows, held_out = mosaics(pixels, cells.labels, cells.held_out, codes, seed=seed)
    return LabelledImages.of_findings(f"mosaics-{len(rare)}", cells.classes, made, shows, held_out)


def _of_table(path: Path, seed: int) -> LabelledImages:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = [(path.parent / row["image"]).read_bytes() for row in rows]
    tested = [row["split"] == "test" for row in rows] if rows and "split" in rows[0] else None
    if rows and "label" not in rows[0]:
        findings = tuple(column for column in rows[0] if column not in {"image", "split"})
        shows = np.array([[row[name].strip() in _THERE for name in findings] for row in rows], dtype=np.bool_)
        held_out = _held_out(np.zeros(len(rows), dtype=np.int64), seed) if tested is None else np.array(tested)
        return LabelledImages.of_findings(path.stem, findings, images, shows, held_out)
    found = _assemble(path.stem, images, [row["label"] for row in rows], tested, seed)
    if not rows or "study" not in rows[0]:
        return found
    studies = np.array([row["study"] for row in rows])
    if tested is None:  # of a study all images, or none
        names = np.unique(studies)
        out = names[np.random.default_rng(seed).permutation(len(names))[: round(_HELD_OUT * len(names))]]
        found = replace(found, held_out=np.isin(studies, out))
    return replace(found, studies=studies)


def _of_medmnist(path: Path, seed: int) -> LabelledImages:
    with np.load(path) as file:
        splits = [split for split in ("train", "val", "test") if f"{split}_images" in file]
        images = np.concatenate([file[f"{split}_images"] for split in splits])
        labels = np.concatenate([file[f"{split}_labels"].ravel() for split in splits]).astype(np.int64)
        tested = [split == "test" for split in splits for _ in file[f"{split}_labels"]]
    known = MEDMNIST_CLASSES.get(path.stem.partition("_")[0], ())
    names = [known[code] if code < len(known) else f"class {code}" for code in labels]
    return _assemble(path.stem, list(images), names, tested if any(tested) else None, seed)


def _assemble(
    name: str,
    images: Sequence[NDArray[np.uint8] | bytes],
    names: Iterable[str],
    tested: list[bool] | None,
    seed: int,
) -> LabelledImages:
    listed = list(names)
    classes = tuple(sorted(Counter(listed)))
    code = {item: index for index, item in enumerate(classes)}
    labels = np.asarray([code[item] for item in listed], dtype=np.int64)
    held_out = _held_out(labels, seed) if tested is None else np.asarray(tested, dtype=bool)
    return LabelledImages(name, classes, images, labels, held_out)


def _held_out(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for code in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == code))
        held_out[members[: round(_HELD_OUT * len(members))]] = True
    return held_out
