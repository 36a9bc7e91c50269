"""DICOM objects of an archive that speaks DICOMweb: found by QIDO-RS, read by WADO-RS (PS3.18, chapter 10).

The package dicomweb-client writes the questions. What carries them is an
:class:`~clinical_backend.archive.exchange.Exchange`: the package's own connection follows redirects, holds answers of
any size, waits without an end in total and tries again up to five times. Of an object it returns what pydicom makes of
it, and not its bytes, so these are taken from the answer here.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from dicomweb_client import DICOMwebClient
from dicomweb_client.uri import URI
from pydicom import Dataset

from clinical_backend.archive.attributes import dataset_of, entry_of, is_uid, text_of, values_of
from clinical_backend.archive.exchange import NOT_A_ROOT, Bounds, Exchange, library_session
from clinical_backend.archive.filters import Filters, ignored
from clinical_backend.archive.found import Found, PassedOver
from clinical_backend.archive.header import TAGS, read_header
from clinical_backend.archive.multipart import WRAPPING, only_part
from clinical_backend.archive.stow import store_object
from clinical_backend.errors import ArchiveError
from clinical_backend.system.parallel import map_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from clinical_backend.archive.access import ArchiveAccess

__all__ = ["DicomWeb"]

_PAGE = 200
_PAGE_BOUNDS = Bounds(size=16 * 2**20, seconds=60.0)
"""Orthanc writes some 5 KB of an object, so a page takes 1 MB; the rest is for archives that heed no limit. JSON that
is made to be large takes up to 20 times as much memory. A minute is what a busy database takes; chosen."""
_MOST = {"studies": 200_000, "series": 50_000, "instances": 50_000}
"""Entries of one search, so that an archive whose pages never end does not fill the memory. They are kept to be sorted:
of a study some 500 bytes, of an object 2 KB; a series of a CT has thousands."""
_SEARCHES = 2
"""Series that are listed at a time: the archive looks for the next one while what it says of one is read."""
_MOST_OBJECTS = 2_000_000  # of an import, of some 100 bytes each, by which doubles are known

_OBJECT_SIZE = 2**30
"""Bytes; a breast tomosynthesis has some hundred MB."""
_OBJECT_SECONDS = 300.0  # in which 1 GiB comes at 3.5 MB/s; chosen

_ASKED = tuple(name for name in TAGS if not name.startswith("MediaStorage"))  # that is of files
_OF_STUDY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientSex", "PatientAge", "StudyDate")
_OF_SERIES = ("Modality", "BodyPartExamined", "Laterality", "Manufacturer")
"""What some archives say of a study or a series only."""
_SERIES_IN_STUDY, _OBJECTS_IN_SERIES = "NumberOfStudyRelatedSeries", "NumberOfSeriesRelatedInstances"

_PIXELS = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As stored: without the last part, an archive has to unpack what is compressed (PS3.18, 8.7.3.5.2)."""

_LONGER_THAN_A_UID, _LONGEST_COUNT = 65, 12  # characters; DICOM's integers in text have 12 (PS3.5, 6.2)
_NO_UID = "its identifier is no UID"

Entry: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Place:
    """A study, or a series of one."""

    study: str
    series: str = ""
    said: tuple[Entry, ...] = ()
    """Of the series, then of the study."""
    holds: int | None = None
    """How many series, or objects, as the archive says."""


class DicomWeb:
    """Finds and reads DICOM objects of a DICOMweb archive, without asking for pixels to find them.

    Studies come in order of their UIDs, so do series, and their objects as they lie in the body, else by number.
    An archive may know less of an object than the object itself says, so it is to be looked at once more when read.

    Parameters
    ----------
    access
        How the archive is reached.
    filters
        Which objects are asked for.
    parallel
        Requests at a time, of all threads together.
    size_limit
        Most bytes of an object.
    page_bounds
        Of one answer to a search.
    seconds
        That an object may take, tries and all.
    sleep
        Waits the given seconds between attempts.

    Raises
    ------
    ArchiveError
        When a certificate cannot be used.
    """

    def __init__(
        self,
        access: ArchiveAccess,
        filters: Filters | None = None,
        *,
        parallel: int = 4,
        size_limit: int = _OBJECT_SIZE,
        page_bounds: Bounds = _PAGE_BOUNDS,
        seconds: float = _OBJECT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._filters = filters or Filters()
        self._exchange = Exchange(access, parallel=parallel, sleep=sleep)
        self._host = self._exchange.root.host
        self._size_limit = size_limit
        self._object_bounds = Bounds(size_limit + WRAPPING, seconds)
        self._client = DICOMwebClient(str(self._exchange.root), library_session(self._exchange, page_bounds))
        self._client.set_http_retry_params(retry=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._exchange.close()

    def find(self) -> Iterator[Found | PassedOver]:
        """Yield the objects of the archive that pass the filters, each once, and what is passed over.

        Raises
        ------
        ArchiveError
            When the archive does not answer as one, heeds no filter, or its answers have no end.
        """
        seen: set[bytes] = set()
        for listed in map_in_order(self._listed, self._wanted(), workers=_SEARCHES, look_ahead=_SEARCHES):
            for one in listed:
                if isinstance(one, Found):
                    digest = hashlib.blake2b(one.header.instance.encode(), digest_size=16).digest()
                    if digest in seen:
                        continue
                    seen.add(digest)
                    self._refuse_endless(len(seen), _MOST_OBJECTS, "instances")
                yield one

    def read(self, found: Found) -> bytes:
        """Return a whole object as the archive has it stored.

        Raises
        ------
        ArchiveError
            When the archive does not give it within the bounds, or gives something else. The message names no
            patient.
        """
        url = URI(str(self._exchange.root), *_uids(found))
        answer = self._exchange.get(str(url), _ACCEPT, self._object_bounds)
        kind = answer.media_type.partition(";")[0].strip().lower()
        if kind == "multipart/related":
            part = only_part(answer.media_type, answer.body)
            if part is None:
                raise ArchiveError(
                    f"The archive at {self._host} does not give the object whole and alone.",
                    "See what its log says; run the import again.",
                )
            data = part
        elif kind == "application/dicom":  # against the standard, and as some archives do
            data = answer.body.getvalue()
        else:
            raise ArchiveError(f"The archive at {self._host} answers with something that is no DICOM.", NOT_A_ROOT)
        if len(data) > self._size_limit:
            raise ArchiveError(
                f"It has more than {self._size_limit / 2**20:.0f} MiB.", "Import a smaller version of it."
            )
        return data

    def describe(self, found: Found) -> Dataset:
        """Return all that the archive says of an object, without its pixels; patient data among it.

        Raises
        ------
        ArchiveError
            As :meth:`read`.
        """
        uids = _uids(found)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = Dataset.from_json(self._client.retrieve_instance_metadata(*uids))
            except ArchiveError:
                raise
            except Exception:  # noqa: BLE001 - pydicom raises errors of every kind on what is no DICOM in JSON
                dataset = Dataset()
        if str(dataset.get("SOPInstanceUID")) != uids[-1]:
            raise ArchiveError(
                f"The archive at {self._host} does not say what the object is.", "See what its log says of it."
            )
        for keyword in _PIXELS & set(dataset.dir()):
            delattr(dataset, keyword)
        dataset.pop("SpecificCharacterSet", None)  # which may be one of no text
        dataset.SpecificCharacterSet = "ISO_IR 192"  # of JSON (PS3.18, F.2.1), whatever the file has
        return dataset

    def store(self, content: bytes) -> None:
        """Give an object to the archive; one that is there already stays.

        Raises
        ------
        ArchiveError
            When the archive does not take it.
        """
        store_object(self._exchange, content)

    def _wanted(self) -> Iterator[_Place | PassedOver]:
        """Yield the series that pass the filters."""
        filters = self._filters
        if filters.series and not filters.studies:
            for uid in sorted(set(filters.series)):
                yield from self._series(_Place(""), {"SeriesInstanceUID": uid})
            return
        for study in self._studies():
            if isinstance(study, PassedOver):
                yield study
            else:
                yield from self._series(study, {})

    def _studies(self) -> Iterator[_Place | PassedOver]:
        filters = self._filters
        questions: Sequence[Mapping[str, str]] = [{}]
        if filters.studies:
            questions = [{"StudyInstanceUID": uid} for uid in sorted(set(filters.studies))]
        elif filters.modalities:
            questions = [{"ModalitiesInStudy": modality} for modality in sorted(set(filters.modalities))]
        places: dict[str, _Place] = {}
        for question in questions:
            for entry in self._pages(
                "studies", {**filters.of_studies, **question}, (*_OF_STUDY, _SERIES_IN_STUDY), "StudyInstanceUID"
            ):
                uid = text_of(entry, "StudyInstanceUID")
                if not is_uid(uid):
                    yield PassedOver("a study", _NO_UID)
                    continue
                if filters.studies and uid not in filters.studies:
                    raise self._ignores("StudyInstanceUID")
                places.setdefault(uid, _Place(uid, "", (_kept(entry, _OF_STUDY),), _count(entry, _SERIES_IN_STUDY)))
        for uid in sorted(places):
            yield places.pop(uid)

    def _series(self, study: _Place, question: Mapping[str, str]) -> Iterator[_Place | PassedOver]:
        filters = self._filters
        asked = {**question, **filters.of_series, **({} if study.study else filters.of_studies)}
        fields = (*_OF_SERIES, *(() if study.study else _OF_STUDY), _OBJECTS_IN_SERIES)
        places: dict[str, _Place] = {}
        for entry in self._pages("series", asked, fields, "SeriesInstanceUID", study):
            uid, of = text_of(entry, "SeriesInstanceUID"), study.study or text_of(entry, "StudyInstanceUID")
            if not (is_uid(uid) and is_uid(of)):
                yield PassedOver(f"a series of study {study.study}", _NO_UID)
                continue
            if filters.series and uid not in filters.series:
                if question:
                    raise self._ignores("SeriesInstanceUID")
                continue
            if filters.modalities and text_of(entry, "Modality") not in filters.modalities:
                continue
            said = (_kept(entry, (*_OF_SERIES, *_OF_STUDY)), *study.said)
            places.setdefault(uid, _Place(of, uid, said, _count(entry, _OBJECTS_IN_SERIES)))
        for uid in sorted(places):
            yield places[uid]

    def _listed(self, series: _Place | PassedOver) -> list[Found | PassedOver]:
        return [series] if isinstance(series, PassedOver) else self._objects(series)

    def _objects(self, series: _Place) -> list[Found | PassedOver]:
        found: dict[str, Found] = {}
        passed_over: list[Found | PassedOver] = []
        place = f"{series.study}/{series.series}"
        for entry in self._pages("instances", self._filters.of_objects, _ASKED, "SOPInstanceUID", series):
            uid = text_of(entry, "SOPInstanceUID")
            if not is_uid(uid):
                passed_over.append(PassedOver(f"an object of {place}", _NO_UID))
                continue
            for name, asked in (("StudyInstanceUID", series.study), ("SeriesInstanceUID", series.series)):
                if text_of(entry, name) not in {"", asked}:
                    raise self._ignores(name)
            header, name = read_header(dataset_of((entry, *series.said), _ASKED)), f"{place}/{uid}"
            header = replace(header, study=series.study, series=series.series, instance=uid)
            if reason := header.reason_against(secondary=True):  # whether they are wanted is the caller's to say
                passed_over.append(PassedOver(name, reason))
            else:
                found[uid] = Found(name, header)
        return passed_over + sorted(found.values(), key=lambda one: (one.header.order, one.header.instance))

    def _pages(
        self, level: str, asked: Mapping[str, str], fields: Sequence[str], key: str, place: _Place | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of all pages of a search, until one has none that is new.

        A page that is not full may be an archive's own limit, so it is not the last. Only where the archive says how
        many there are, and so many came, no more is asked for.
        """
        search = getattr(self._client, f"search_for_{level}")
        above = {} if place is None else {"study_instance_uid": place.study or None}
        if place is not None and place.series:
            above["series_instance_uid"] = place.series
        enough = None if place is None else place.holds
        # Series are told by their modality here, whatever an archive makes of that of a study.
        heeded = {name: value for name, value in asked.items() if name != "ModalitiesInStudy"}
        seen: set[str] = set()
        offset = 0
        while True:
            entries = self._page(search, above, asked, (*fields, *asked), offset)
            offset += len(entries)
            fresh = {text_of(entry, key)[:_LONGER_THAN_A_UID]: entry for entry in entries}
            fresh = {uid: entry for uid, entry in fresh.items() if uid not in seen}
            seen.update(fresh)
            self._refuse_endless(len(seen), _MOST[level], level)
            for entry in fresh.values():
                if (name := ignored(heeded, entry)) is not None:
                    raise self._ignores(name)
                yield entry
            if not fresh or (enough is not None and len(entries) < _PAGE and len(seen) >= enough):
                return

    def _page(
        self,
        search: Callable[..., object],
        above: Mapping[str, str | None],
        asked: Mapping[str, str],
        fields: Sequence[str],
        offset: int,
    ) -> list[Entry]:
        try:
            entries = search(**above, fields=fields, search_filters=asked, limit=_PAGE, offset=offset)
        except (ValueError, RecursionError):  # no JSON, or such as nobody writes
            entries = None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ArchiveError(
                f"The archive at {self._host} answers a search with something that is not DICOM in JSON.", NOT_A_ROOT
            )
        return entries

    def _ignores(self, name: str) -> ArchiveError:
        return ArchiveError(
            f"The archive at {self._host} does not heed the filter {name}: it gives what was not asked for.",
            "Leave that filter out, and narrow the import in another way.",
        )

    def _refuse_endless(self, count: int, most: int, what: str) -> None:
        if count > most:
            raise ArchiveError(
                f"The archive at {self._host} lists more than {most:,} {what}.",
                "Import it part by part, as by --match StudyDate=20200101-20201231.",
            )


def _uids(found: Found) -> tuple[str, str, str]:
    """Return the UIDs of study, series and object.

    Raises
    ------
    ArchiveError
        When one is none: it would be a part of a path.
    """
    uids = found.header.study, found.header.series, found.header.instance
    if not all(map(is_uid, uids)):
        raise ArchiveError("An object is not named by UIDs.", "Leave it out.")
    return uids


def _kept(entry: Entry, keywords: Sequence[str]) -> Entry:
    """Return an entry with some attributes only, for it is kept for a while."""
    found = {keyword: values_of(entry, keyword) for keyword in keywords}
    return entry_of({keyword: values for keyword, values in found.items() if values})


def _count(entry: Entry, keyword: str) -> int | None:
    text = text_of(entry, keyword)
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_COUNT else None
