"""The words and tables of a model card.

Its parts are those of "Model Cards for Model Reporting" (Mitchell et al., FAT* 2019), as far as the project knows them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from clinical_backend.findings.performance import LEAST_CASES
from clinical_backend.findings.subgroups import LEAST_PATIENTS
from clinical_backend.findings.weights import LEAST_DRAWS
from clinical_backend.handover.document import Code, Document, Heading, Strong, Table, Text, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clinical_backend.findings.interval import Interval
    from clinical_backend.findings.performance import ClassFigures, Performance, ReliabilityBin, SubgroupFigures
    from clinical_backend.handover.card_facts import CardFacts
    from clinical_backend.handover.document import Block

__all__ = ["card_document"]

_TOO_FEW = "too few to say"
_FLATTERS = "of the labels, which were chosen by the search: flatters"
_USE = (
    "To put probably rare cases first, and to pre-annotate, for people who look at each image. It is research software"
    " and not a medical device: it must not decide about a patient, nor replace a reading."
)
_MEASURES = ("average precision", "sensitivity, %", "specificity, %", "Brier score", "predicted, %", "in fact, %")


def card_document(
    facts: CardFacts, performance: Performance, *, intended_use: str | None, limits: str | None
) -> Document:
    """Return a model card.

    Parameters
    ----------
    facts, performance
        What it says.
    intended_use, limits
        In the lead's own words, in place of the default use and beside the limits that are always named.
    """
    named = f"Model card: {facts.title or f'project {facts.project}'}"
    blocks: list[Block] = [
        Text(
            "Model ",
            Code(facts.version),
            f" of project {facts.project}: what it is, what it learnt from, how good it is and for whom that is not"
            " known.",
        ),
        Heading("Intended use"),
        Words(intended_use) if intended_use else Text(_USE),
        Heading("Limits"),
        *([Words(limits)] if limits else []),
        *_limits(facts),
        *_model(facts),
        *_data(facts),
        *_judging(facts, performance),
        *_overall(facts, performance),
        *(block for one in performance.subgroups for block in _subgroup(facts, one)),
        *_origin(facts),
    ]
    return Document(named, blocks)


def _limits(facts: CardFacts) -> Iterator[Block]:
    judged = facts.judged
    yield Text(
        "The figures hold for images, readers and devices like those of the project alone. Readers' labels are taken"
        " for the truth: a mistake that they make throughout is not seen. No other hospital has tried this model, as"
        " far as this card knows."
    )
    if not _is_weighted(facts):
        yield Text(
            Strong(f"No figure below is an estimate for all images of the project: {_FLATTERS}."),
            f" {judged.missing_draws} more labels of random draws are needed until weights can undo the search.",
        )
    if facts.patient_field is None:
        yield Text(
            Strong("No field names the patient (GROUP_FIELD)."),
            " Each task counts as a patient of its own: where patients have several images, intervals are too narrow,"
            " and the figures may flatter, since images of one patient are learnt and judged.",
        )
    if facts.readings is not None and facts.readings.readers == 1:
        yield Text("One reader gave all labels: whether others would agree is not known.")


def _model(facts: CardFacts) -> Iterator[Block]:
    called = "the likeliest class" if facts.threshold is None else f"each finding from {facts.threshold} on"
    rows = [
        ("what answers", facts.answers),
        ("learnt from the labels of", f"round {facts.learnt_in}"),
        ("classes", ", ".join(facts.classes)),
        ("looked for", ", ".join(facts.looked_for) or "what is tagged"),
        ("called (threshold)", called),
        ("backbone", facts.network),
        ("its licence", facts.licence),
        ("features", facts.features),
        ("adaptation", facts.adaptation),
    ]
    yield Heading("Model")
    yield Table(("what", "it is"), rows)


def _data(facts: CardFacts) -> Iterator[Block]:
    yield Heading("Data")
    yield Text(
        "Readers answered in Label Studio, served by a queue that seeks rare cases; part of it is drawn at random.",
        f" First and last label: {' to '.join(facts.days)}." if facts.days else "",
        f" Queues of rounds {facts.rounds[0]} to {facts.rounds[1]}." if facts.rounds else "",
        f" {facts.patients:,} patients or studies." if facts.patients is not None else "",
    )
    if facts.readings is not None:
        one = facts.readings
        yield Text(
            f"Readers: {one.readers:,}. Read by two or more: {one.read_again:,} tasks",
            f", on {one.agreed:,} of which all agree." if one.read_again else ".",
        )
    yield Table(("how the label came about", "labels"), Counter(facts.origins).most_common())
    yield Table(("class", "labels", "of them drawn at random"), [(name, *two) for name, two in facts.counts.items()])


def _judging(facts: CardFacts, performance: Performance) -> Iterator[Block]:
    judged = facts.judged
    yield Heading("How it was judged")
    yield Text(judged.cases.source)
    yield Text(judged.in_words)
    if _is_weighted(facts):
        yield Text(judged.weighting)
    else:
        yield Text(Strong(f"Figures are not weighted: they are {_FLATTERS}."))
    told = f"fewer than {LEAST_CASES} cases" + (f" or {LEAST_DRAWS} random draws" if _is_weighted(facts) else "")
    yield Text(
        f"Intervals are of 95 %. Shares have Clopper and Pearson's, for the effective number of cases: Kish's for the"
        " weights, over the design effect of patients (Korn and Graubard 1998). All else is resampled:"
        f" {performance.resampling.replications:,} times as many patients are drawn as there are, each with all of its"
        f" cases, and the percentiles taken (seed {performance.resampling.seed}); average precision has at least the"
        " binomial interval of its positive cases (Boyd et al. 2013), and is a little too high where these are few."
        " Predicted is the mean probability and in fact"
        " the share that is there: a calibrated model has both alike. The Brier score is the mean squared error of the"
        f" probability. {_TOO_FEW.capitalize()}: {told}.",
    )


def _overall(facts: CardFacts, performance: Performance) -> Iterator[Block]:
    yield Heading("Figures" if _is_weighted(facts) else f"Figures {_FLATTERS}")
    places = _sought_first(facts)
    rows = [_row(performance.classes[place].name, performance.classes[place]) for place in places]
    yield Table(("class", "cases", "positive", *_MEASURES), rows)
    balanced = performance.balanced_accuracy
    several = facts.threshold is not None
    how = "the mean of sensitivities and specificities" if several else "the mean of the classes' sensitivities"
    said = "too few cases of some class to say" if balanced is None else f"{_percent(balanced)} %"
    yield Text("Balanced accuracy, ", how, ": ", Strong(said), ".")
    brier, how = performance.brier_score, "the mean of each case's findings" if several else "the sum of all classes"
    yield Text("Brier score, ", how, ": ", Strong(_TOO_FEW if brier is None else _coefficient(brier, 3)), ".")
    yield Heading("Calibration", 3)
    yield Text("Predicted → in fact, in %, of cases with about the same probability.")
    bins = {name: performance.reliability[name] for name in (performance.classes[place].name for place in places)}
    heads = [f"{100 * one.low:.0f} to {100 * one.high:.0f} %" for one in next(iter(bins.values()))]
    yield Table(("class", *heads), [(name, *map(_bin, each)) for name, each in bins.items()])


def _subgroup(facts: CardFacts, found: SubgroupFigures) -> Iterator[Block]:
    yield Heading(f"By {found.field}" + ("" if _is_weighted(facts) else f" ({_FLATTERS})"))
    withheld = f" Values that fewer have are not listed by themselves ({found.withheld})." if found.withheld else ""
    yield Text(f"{found.how} Subgroups of {LEAST_PATIENTS} patients at least.{withheld}")
    rows: list[Sequence[object]] = []
    silent = []
    for place in _sought_first(facts) if found.classes else ():
        of_each = {value: figures[place] for value, figures in found.classes.items()}
        name = facts.classes[place]
        if any(one.average_precision is not None for one in of_each.values()):
            rows += [(name,), *(_row(value, one) for value, one in of_each.items())]
        else:
            silent.append(name)
    if rows:
        yield Table((found.field, "cases", "positive", *_MEASURES), rows)
    if silent:
        yield Text(f"{_TOO_FEW.capitalize()} of any subgroup: {', '.join(silent)}.")


def _sought_first(facts: CardFacts) -> list[int]:
    """Return the places of the classes, those that are looked for first."""
    return sorted(range(len(facts.classes)), key=lambda place: facts.classes[place] not in facts.looked_for)


def _origin(facts: CardFacts) -> Iterator[Block]:
    yield Heading("Where this card comes from")
    if facts.command is None:
        yield Text("Made on the project's page, of what its rounds keep.")
    else:
        yield Text("Made by ", Code(facts.command))
    versions = ", ".join(f"{name} {one}" for name, one in facts.versions.items())
    yield Text(f"{versions}. The same labels and model give the same card.")
    yield Table(("sha256 of", "it is"), list(facts.digests.items()))


def _row(name: str, one: ClassFigures) -> Sequence[object]:
    counts = (name, one.cases, one.positives)
    shares = [_TOO_FEW if share is None else _percent(share) for share in (one.sensitivity, one.specificity)]
    if one.average_precision is None:
        if shares == [_TOO_FEW, _TOO_FEW]:
            return (*counts, _TOO_FEW)
        return (*counts, _TOO_FEW, *shares, *[_TOO_FEW] * 3)
    assert one.brier_score is not None
    assert one.predicted is not None
    assert one.observed is not None
    calibration = (_coefficient(one.brier_score, 3), f"{100 * one.predicted:.1f}", _percent(one.observed))
    return (*counts, _coefficient(one.average_precision), *shares, *calibration)


def _bin(one: ReliabilityBin) -> str:
    if not one.cases:
        return "–"
    if one.predicted is None or one.observed is None:
        return _TOO_FEW
    return f"{100 * one.predicted:.1f} → {_percent(one.observed)}"


def _percent(one: Interval) -> str:
    return _with_ends(one, 100.0, 1)


def _coefficient(one: Interval, digits: int = 2) -> str:
    return _with_ends(one, 1.0, digits)


def _with_ends(one: Interval, unit: float, digits: int) -> str:
    if one.estimate is None:
        return _TOO_FEW
    if one.low is None or one.high is None:
        return f"{unit * one.estimate:.{digits}f} (no interval)"
    return f"{unit * one.estimate:.{digits}f} ({unit * one.low:.{digits}f}–{unit * one.high:.{digits}f})"


def _is_weighted(facts: CardFacts) -> bool:
    return facts.judged.cases.weights is not None
