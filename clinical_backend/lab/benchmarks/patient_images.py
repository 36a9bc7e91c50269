"""Real images with the patient and the fields that a model card makes subgroups of: skin lesions and chest X-rays."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from clinical_backend.lab.experiments.datasets import DataError, find_set

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["SETS", "PatientImage", "load_patient_images"]

SETS = {"ham10000": "skin lesions (HAM10000)", "chest_xray_128": "chest X-rays (Kermany)"}
"""What there is, by the name of the archive in the data folder."""
_XRAY = re.compile(
    r"(?P<split>train|test)/(?P<label>\w+)/(?P<patient>person\d+|(?:NORMAL2-)?IM-\d+)(?P<rest>.*)\.jpeg$"
)
"""Kermany et al. name the patient in the file, and of pneumonia the cause; numbers begin anew in each split."""


@dataclass(frozen=True, slots=True)
class PatientImage:
    """An image and what is known of it.

    Attributes
    ----------
    content
        The file.
    suffix
        Of its name.
    label
        Its class.
    patient
        What it shares with others of the same patient, or lesion.
    fields
        What a task's data says beside.
    """

    content: bytes
    suffix: str
    label: str
    patient: str
    fields: dict[str, str | float]


def load_patient_images(name: str, size: int, *, cache: Path, seed: int = 0) -> list[PatientImage]:
    """Return at least so many images of a set, all of those patients who are drawn at random until these are reached.

    Raises
    ------
    DataError
        When the set is not in the data folder, or cannot be read.
    """
    path = find_set(name, cache)
    try:
        with zipfile.ZipFile(path) as archive:
            rows = _lesions(archive) if name == "ham10000" else _x_rays(archive)
            return [
                PatientImage(archive.read(member), PurePosixPath(member).suffix, label, patient, fields)
                for member, label, patient, fields in _drawn(rows, size, seed)
            ]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The set {path.name} cannot be read ({type(error).__name__}).", "Put a whole copy into the data folder."
        ) from None


_Row = tuple[str, str, str, dict[str, "str | float"]]
"""Name in the archive, class, patient, and fields."""


def _lesions(archive: zipfile.ZipFile) -> list[_Row]:
    members = {PurePosixPath(one).stem: one for one in archive.namelist()}
    table = next(one for one in archive.namelist() if one.endswith("metadata.csv"))
    with archive.open(table) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")))
    return [
        (members[row["image_id"]], row["dx"], row["lesion_id"], {"sex": row["sex"]} | _age(row["age"])) for row in rows
    ]


def _age(text: str) -> dict[str, str | float]:
    return {"age": float(text)} if text else {}


def _x_rays(archive: zipfile.ZipFile) -> list[_Row]:
    found = [(one, _XRAY.search(one)) for one in archive.namelist()]
    return [
        (
            member,
            said["label"],
            f"{said['split']} {said['patient']}",
            {"cause": next((cause for cause in ("bacteria", "virus") if cause in said["rest"]), "none")},
        )
        for member, said in found
        if said is not None
    ]


def _drawn(rows: Sequence[_Row], size: int, seed: int) -> list[_Row]:
    patients = np.array([patient for _, _, patient, _ in rows])
    chosen: list[_Row] = []
    members: dict[str, list[_Row]] = {}
    for row in sorted(rows):
        members.setdefault(row[2], []).append(row)
    for patient in np.random.default_rng(seed).permutation(np.unique(patients)).tolist():
        if len(chosen) >= size:
            break
        chosen += members[patient]
    return chosen
