"""Answers as DICOM Structured Reports, one of each study (PS3.16, TID 1500 Measurement Report)."""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM

from clinical_backend.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from highdicom.sr import CodedConcept, MeasurementsAndQualitativeEvaluations
    from pydicom import Dataset

__all__ = ["Reported", "make_report"]

# What it logs holds identifiers of the objects.
logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)

_SCHEME = "99CLINICAL"
"""Of codes that no terminology has: the labels are a project's own words (PS3.3, 8.2: private designators)."""
_LONGEST_CODE = 16  # of representation SH
_LONGEST_MEANING = 64  # of representation LO
_SERIES_NUMBER = 9000  # none of a scanner's
_TAKEN_OVER = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_FORMS = {"DA": DA, "TM": TM}
_SEXES = {"M", "F", "O"}  # PS3.3, C.7.1.1
_CHARACTERS = "ISO_IR 192"  # UTF-8: labels are written in any script


@dataclass(frozen=True, slots=True)
class Reported:
    """What readers said of one task.

    Attributes
    ----------
    identity
        Of the task: keyed hash of what it shows.
    labels
        The classes or findings that it has.
    images
        The objects that it shows, as the archive has them, without pixels.
    """

    identity: str
    labels: Sequence[str]
    images: Sequence[Dataset]


def make_report(tasks: Sequence[Reported], project: str) -> bytes:
    """Return a Comprehensive SR with a group for each task: its labels as qualitative evaluations, and its images.

    The same answers have the same UIDs, so that a report that is sent twice is there once. Label texts are codes of a
    private scheme; the observer is this backend, on behalf of readers who stay unnamed.

    Parameters
    ----------
    tasks
        Of one study, at least one.
    project
        Title of the project, for the report's description.

    Raises
    ------
    ArchiveError
        When the objects lack what a report of them needs, or are of several patients.
    """
    if len({number for task in tasks for image in task.images if (number := _text(image, "PatientID"))}) > 1:
        raise ArchiveError(
            "The objects of a study name several patients, and a report can name one.", "Correct it in the archive."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pydicom complains of quotes values
            made = BytesIO()
            _report(tasks, project).save_as(made, enforce_file_format=True)
    except (AttributeError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise ArchiveError(
            f"The objects of a study lack what a report of them needs ({type(error).__name__}).",
            "Leave the study out.",
        ) from None
    return made.getvalue()


def _report(tasks: Sequence[Reported], project: str) -> Dataset:
    import highdicom  # noqa: PLC0415 - takes long to load, rarely needed

    concept = highdicom.sr.CodedConcept
    evidence = list({image.SOPInstanceUID: image for task in tasks for image in task.images}.values())
    evidence[0] = _completed(evidence[0])
    answers = repr(sorted((task.identity, sorted(task.labels)) for task in tasks))
    study = str(evidence[0].StudyInstanceUID)
    device = highdicom.sr.ObserverContext(
        observer_type=concept("121007", "DCM", "Device"),
        observer_identifying_attributes=highdicom.sr.DeviceObserverIdentifyingAttributes(
            uid=_uid("device"), name="clinical-backend", model_name=version("clinical-backend")
        ),
    )
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=device),
        procedure_reported=concept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[_group(task) for task in tasks],
        title=concept("126000", "DCM", "Imaging Measurement Report"),
    )
    return highdicom.sr.ComprehensiveSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=_uid("series", study),
        series_number=_SERIES_NUMBER,
        series_description=_plain(project)[:_LONGEST_MEANING],
        sop_instance_uid=_uid("report", study, answers),
        instance_number=1,
        manufacturer="clinical-backend",
        is_complete=True,
        specific_character_set=_CHARACTERS,
    )


def _completed(image: Dataset) -> Dataset:
    """Return an object with what a report takes over from it: the patient and the study.

    Empty where it lacks them, or has a name, a date, a time or a sex that is none: identifiers tell whose report it is.
    """
    completed = copy.copy(image)
    for name in _TAKEN_OVER:
        value = image.get(name)
        several = [] if value is None else list(value) if isinstance(value, MultiValue) else [value]
        text = "\\".join(map(str, several))
        setattr(completed, name, text if _is_value(name, text) else "")
    return completed


def _is_value(name: str, text: str) -> bool:
    """Tell whether a text is a value of an attribute, as far as a report cannot be made with another."""
    kind = dictionary_VR(name)
    if name == "PatientSex":
        return text in _SEXES
    if kind == "PN":
        return "\\" not in text  # of several, which one it is cannot be told
    try:
        _FORMS.get(kind, str)(text)
    except ValueError:
        return False
    return True


def _group(task: Reported) -> MeasurementsAndQualitativeEvaluations:
    import highdicom  # noqa: PLC0415

    return highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(uid=_uid("task", task.identity), identifier=task.identity),
        qualitative_evaluations=[
            highdicom.sr.QualitativeEvaluation(
                name=highdicom.sr.CodedConcept("121071", "DCM", "Finding"), value=_code(label)
            )
            for label in task.labels
        ],
        source_images=[
            highdicom.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)
            for image in task.images
        ],
    )


def _code(label: str) -> CodedConcept:
    """Return a private code of a label: its text where that is short and plain, else the first digits of its sha256."""
    import highdicom  # noqa: PLC0415

    meaning = _plain(label)[:_LONGEST_MEANING]
    short = meaning if meaning == label and len(meaning) <= _LONGEST_CODE and meaning.isascii() else ""
    value = short or hashlib.sha256(label.encode()).hexdigest()[:_LONGEST_CODE]
    return highdicom.sr.CodedConcept(value, _SCHEME, meaning or value)


def _text(image: Dataset, name: str) -> str:
    return str(image.get(name) or "").strip()


def _plain(text: str) -> str:
    """Return a text without what has a meaning of its own in DICOM (PS3.5, 6.1): control signs and the backslash."""
    return "".join(sign if sign.isprintable() and sign != "\\" else " " for sign in text).strip()


def _uid(*parts: str) -> str:
    """Return a UID that is always the same for the same text (PS3.5, B.2)."""
    digest = hashlib.sha256("\0".join(("clinical-backend", *parts)).encode()).digest()[:16]
    return f"2.25.{int.from_bytes(digest)}"
