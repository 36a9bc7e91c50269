"""Which acquisition orders the pool: chosen by what is known of the target."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical_backend.acquisition import ACQUISITIONS
from clinical_backend.strategy.outside import own_cases_worth

if TYPE_CHECKING:
    from clinical_backend.project_settings import Goal
    from clinical_backend.strategy.fit import Fit
    from clinical_backend.strategy.target import Target
    from clinical_backend.strategy.tasks import Inputs

__all__ = ["Choice", "choose_acquisition"]

_EXPLORED_IN_DOUBT = 0.5
"""Of the doubt: on ultrasound with one exemplar it lifted the mean from 12.2 to 13.6 of 24 cases after 100 labels, and
changed nothing elsewhere, but cost on mel (docs/earlier-experiments.md)."""
_FOR_CLASSIFIER = 0.25
"""Of the queue, where the lead wants a classifier as well. On blood cells a half taught it no more, and found 71 cases
after 300 labels instead of 81 (docs/finding-power.md)."""
_EXPLORED_BY_WORDS_ALONE = 0.6
"""Of the queue, before the first case. Words are tried on the rest: right ones bring a case with the first labels all
the same, and wrong ones keep readers from it for as many labels as are given to them (docs/exemplars.md)."""
_GIVEN_UP = 0.95
"""Of the doubt: from eight labels in vain on, words seek nothing more before the first case."""
_LEAST_EXPLORED = 0.005
"""Of a queue of 200 one task: less explores nothing, and need not be told."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The acquisition of a round, and why it was chosen.

    Attributes
    ----------
    acquisition
        Its name.
    gradients
        Whether it works on gradient embeddings instead of features.
    conditioned
        Whether it keeps away from the counter-exemplars.
    reason
        For people.
    explores
        Share of what seeks the target that a diverse order fills instead, since seeking yields little.
    teaches
        Share of the queue that goes to what the classifier is unsure of instead, since the lead wants one as well.
    near_copies
        Tasks that come behind all others: near-copies of answered or queued ones, as far as the order met them.
    """

    acquisition: str
    gradients: bool
    conditioned: bool
    reason: str
    explores: float = 0.0
    teaches: float = 0.0
    near_copies: int = 0


def choose_acquisition(setting: str, target: Target, fit: Fit, inputs: Inputs, goal: Goal = "rare") -> Choice:
    """Choose by stages: diverse while nothing is known, then what is probably rare, and varied.

    Parameters
    ----------
    setting
        ACQUISITION: ``auto`` follows the stages; another name holds wherever it can work.
    inputs
        What has features.
    goal
        GOAL, which the stages follow.
    """
    if setting != "auto":
        wanted = ACQUISITIONS[setting]
        if (wanted.of_rare and fit.detector is None) or (wanted.needs_query and not len(inputs.steering)):
            prefix = f"{setting} needs a query set ({target.reason}); "
        elif wanted.needs_classifier and fit.classifier is None:
            prefix = f"{setting} needs a classifier ({fit.reason}); "
        else:
            conditioned = wanted.conditional and len(inputs.counter_exemplars) > 0
            gradients = fit.sees_target and wanted.needs_query
            return Choice(setting, gradients, conditioned, "set by ACQUISITION")
    else:
        prefix = ""
    given_up = target.doubt_of_words > _GIVEN_UP
    if fit.detector is None and (inputs.words is None or given_up):
        why = f", which found {target.hits} of {target.sought}" if inputs.words is not None else ""
        return Choice("coreset", False, False, f"{prefix}{target.reason}{why}: a diverse order")
    by = "learnt from labels and the pool" if fit.detector is not None else "by words"
    reason = f"{prefix}{target.reason}; {fit.reason}: likeness to the target, {by}, and variety"
    foreign = _doubt_of_elsewhere(inputs, fit)
    explores = _EXPLORED_IN_DOUBT * max(target.doubt, foreign) if setting == "auto" else 0.0
    if fit.detector is None and setting == "auto":
        explores = max(_EXPLORED_BY_WORDS_ALONE, target.doubt_of_words)
    if explores >= _LEAST_EXPLORED and foreign > target.doubt:
        off = "exemplars from outside lie off the project's own images"
        why = off if inputs.words is None else "whether words and cases from elsewhere carry over is not known"
        reason += f"; {why}, so {explores:.0%} of the queue explores"
    elif explores >= _LEAST_EXPLORED:
        reason += f"; seeking it found {target.hits} of {target.sought}, so {explores:.0%} of the queue explores"
    tells_apart = fit.classifier is not None and set(fit.classes) > set(fit.rare_classes)
    teaches = _FOR_CLASSIFIER if setting == "auto" and goal == "classifier" and tells_apart else 0.0
    if teaches:
        reason += f"; {teaches:.0%} of the queue goes to what the classifier is unsure of, as GOAL asks"
    return Choice("quality_diversity", False, False, reason, explores, teaches)


def _doubt_of_elsewhere(inputs: Inputs, fit: Fit) -> float:
    """Return how far words and exemplars that lie off tell what is looked for: a mean over findings, from 0 to 1."""
    given = Counter(() if inputs.outside is None else inputs.outside.findings)
    worded = () if inputs.words is None else inputs.words.findings
    own = Counter(fit.labels.get(task, "") for task in inputs.query.tasks.tolist())
    shifts = {} if fit.detector is None else fit.detector.shifts
    doubts = []
    for name in {*given, *worded}:
        of_exemplars, of_words = own_cases_worth(given[name]), own_cases_worth(name in worded)
        doubts.append((shifts.get(name, 1.0) * of_exemplars + of_words) / (of_exemplars + of_words + own[name]))
    return sum(doubts) / len({*given, *worded, *own}) if doubts else 0.0
