"""What a round looks for: the rare classes, and the tasks that stand for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betainc, betaincinv

from clinical_backend.multilabel import findings_of, is_multilabel
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["Target", "find_target"]

_LEAST_COMMON, _SURELY_COMMON = 0.05, 0.15
"""Every class above the second share is common: to pass over tags on such classes brought back nearly all that a slip
had cost in trials on skin images. None below the first is: findings of some per cent are looked for."""
_TIMES_AS_FREQUENT = 3.0
"""Between the two a class is common that is so many times as frequent as another that is looked for, as 11 % are
beside 1 %."""
_STRAY_TAGS = 0.5
"""A class with no more than this share of the tags that the most tagged one has may have come by a slip: with two rare
classes and one slip in five, a common one that gets all slips has half of the tags of each."""
_ODDS = 4.0
"""Of a slip, before labels tell, where the tags of a class are stray; against one where they are not. So stray tags are
followed after a dozen labels of which none is of their class, and others no more where four of twenty are."""
_GRID = np.linspace(0.005, 0.995, 100)
"""The middles of a hundred equally likely steps of a share: the mean over them is an integral over its posterior."""
_DROWNING_SHARE = 0.3
"""Tagged cases of a class with a greater share stay in the query set, its other labels do not: they would outnumber
them."""
_ENOUGH_TO_CALL_COMMON = 10
"""Labels: with fewer, one or two of a class are above that share by luck."""
_QUERY_LIMIT = 200
"""What each round compares all of the pool with: beyond it the time grows, and cases of a class repeat each other."""
_LEAST_YIELD = 0.1
"""Whatever random order meets, seeking is not in vain where one label in ten is of the target."""
_LEAST_YIELD_OF_WORDS = 0.3
"""Right words yielded nearly all of their first labels in simulated spaces (docs/exemplars.md); eight in vain then
leave a probability of 4 % that they yield as much. With a fifth in its place it would take thirteen."""
_EXPECTED_RARE, _EXPECTED_LABELS = 0.5, 50.0
"""What is known of the share of the target before labels tell: one in a hundred, worth fifty labels. Without it, few
labels that were not sought made a yield of one in ten look vain on findings of 2 % (docs/earlier-experiments.md)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a round looks for.

    Attributes
    ----------
    classes
        The rare classes; empty while nothing is known of them.
    query
        Tasks of the query set: the exemplars first, then labelled tasks of the rare classes.
    exemplars
        How many of the query set were tagged by readers.
    passed_over
        Tagged cases whose class is not looked for: they neither steer nor change the target.
    counter_exemplars
        Tasks tagged "not like this".
    reason
        Where the target comes from, for people.
    sought, hits
        How many labels were given because a round sought the target, and how many of them are of its classes.
    unsought, chance_hits
        The same of the other labels, but for the exemplars' and those for the classifier: what an order that seeks
        nothing meets.
    met
        These other labels, by class.
    queries
        By class, the tasks of the query set that stand for it, where several are looked for, or an image may have
        several findings.
    outside
        By class, what stands for it from outside the project: ids that no task has. They are no cases of it.
    words
        Those of the classes that words stand for.
    """

    classes: tuple[str, ...]
    query: tuple[int, ...]
    exemplars: int
    counter_exemplars: tuple[int, ...]
    reason: str
    sought: int = 0
    hits: int = 0
    unsought: int = 0
    chance_hits: int = 0
    passed_over: tuple[int, ...] = ()
    met: Mapping[str, int] = field(default_factory=dict)
    queries: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    outside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def alone(self, name: str) -> Target:
        """Return what one of several findings or classes is sought by: its own query set.

        Whether seeking is in vain is asked of all of them together: each gets a part of the queue alone, and would pass
        for hopeless at a yield that is a multiple of what random order meets. While nobody has looked at any image, and
        all labels are a model's own, there is one query set for all.
        """
        outside = {name: self.outside[name]} if name in self.outside else {}
        words = tuple(word for word in self.words if word == name)
        query = self.queries.get(name, self.query)
        return replace(self, classes=(name,), query=query, queries={}, outside=outside, words=words)

    @property
    def doubt(self) -> float:
        """The probability that seeking the target is in vain, by what it has yielded.

        In vain is a yield below twice what the other labels met, and below one in ten in any case. The probability
        is that of the yield's posterior under a uniform prior; 0 while nothing was sought. An exemplar that is not
        typical of its class leads to where there is little.
        """
        chance = (self.chance_hits + _EXPECTED_RARE) / (self.unsought + _EXPECTED_LABELS)
        return self._doubt_of(min(_LEAST_YIELD, 2 * chance))

    @property
    def doubt_of_words(self) -> float:
        """The probability that seeking it by words alone yields too little.

        Nothing else tells them wrong before the first case, which is met at half the pace while they take half the
        queue: so they have to yield more.
        """
        return self._doubt_of(_LEAST_YIELD_OF_WORDS)

    def _doubt_of(self, least: float) -> float:
        """Return the probability that the yield is below this, 0 while nothing was sought."""
        return float(betainc(1 + self.hits, 1 + self.sought - self.hits, least)) if self.sought else 0.0


def find_target(
    labels: Mapping[int, str],
    exemplars: Sequence[int],
    counter_exemplars: Sequence[int],
    rare_classes: Sequence[str],
    classes: Sequence[str],
    *,
    targeted: Collection[int] = (),
    for_classifier: Collection[int] = (),
    disputed: Mapping[int, Collection[str]] | None = None,
    declined: Collection[str] = (),
    stands_for: Mapping[int, Collection[str]] | None = None,
    outside: Mapping[int, str] | None = None,
    words: Collection[str] = (),
) -> Target:
    """Decide what to look for: what the lead named; where nobody named anything, what was given an exemplar.

    A tag on a case of another class changes nothing, nor does one on a class that is common: it slipped, or it is a
    wish that the lead is asked about. An exemplar without a class stands for itself. One from outside, and words, were
    given with their class by intent, which is looked for however common it is; but not where that would be every class.

    Parameters
    ----------
    labels
        Class by task, of all labelled tasks that somebody looked at.
    exemplars, counter_exemplars
        Tasks that readers tagged.
    rare_classes
        The setting of that name; those that the labeling config does not have are passed over.
    classes
        Classes of the labeling config.
    targeted
        Tasks that were labelled because a round sought the target: they do not tell how frequent a class is.
    for_classifier
        Tasks that were labelled because the classifier was unsure of them: nor do they, or whether seeking pays.
    disputed
        What readers do not agree on, by task: it stands for none of that.
    declined
        Classes of which the lead said that they are not looked for: no tag means them.
    stands_for
        By exemplar, the findings that its tag names. Without, it stands for all that it has.
    outside
        The class of each exemplar from outside the project, by an id that no task has.
    words
        Classes that words stand for.
    """
    named_by_tag, disputed = stands_for or {}, disputed or {}
    found_in = {task: findings_of(label) for task, label in labels.items()}
    meant = {task: frozenset(named_by_tag.get(task, ()) or found_in.get(task, ())) for task in exemplars}
    chosen = {*targeted, *for_classifier, *exemplars}
    unsought = [task for task in labels if task not in chosen]
    counts = Counter(name for task in unsought for name in found_in[task])
    tags = Counter(name for task in exemplars for name in meant[task] & set(classes) - set(declined))
    named = tuple(name for name in classes if name in rare_classes)
    given = {name for name in (*(outside or {}).values(), *words) if name in classes} - set(declined)
    targets = named or _with_given(_meant(tags, counts, classes, len(unsought)), given, classes)
    steering = [task for task in exemplars if task not in labels or meant[task] & set(targets)]
    # A class that is common among the labels would drown what the reader pointed at; what is from outside yields to it.
    enough = not named and len(unsought) >= _ENOUGH_TO_CALL_COMMON
    few = _DROWNING_SHARE * len(unsought)
    members = {name for name in targets if not enough or counts[name] <= few or not tags[name]}
    tried = [found_in[task] for task in targeted if task in labels]
    several = any(map(is_multilabel, labels.values()))
    queries = {}
    for name in targets:
        tagged = [task for task in steering if name in meant[task] or task not in labels]
        found = [task for task, names in found_in.items() if name in names & members and task not in exemplars]
        kept = [
            task for task in [*tagged, *found] if task not in counter_exemplars and name not in disputed.get(task, ())
        ]
        queries[name] = tuple(kept[:_QUERY_LIMIT])
    unnamed = [task for task in steering if task not in labels and task not in counter_exemplars]
    standing = {*unnamed, *(task for query in queries.values() for task in query)}
    foreign = {
        name: tuple(one for one, of in (outside or {}).items() if of == name)
        for name in targets
        if name in (outside or {}).values()
    }
    worded = tuple(name for name in targets if name in words)
    query = tuple(task for task in dict.fromkeys([*steering, *labels]) if task in standing)[:_QUERY_LIMIT]
    return Target(
        targets,
        query,
        len(steering),
        tuple(counter_exemplars),
        _reason(named, len(steering), sum(map(len, foreign.values())), worded, with_cases=bool(query)),
        sought=len(tried),
        hits=sum(not names.isdisjoint(targets) for names in tried),
        unsought=len(unsought),
        chance_hits=sum(not found_in[task].isdisjoint(targets) for task in unsought),
        passed_over=tuple(task for task in exemplars if task not in steering),
        met=counts,
        queries=queries if several or len(queries) > 1 else {},
        outside=foreign,
        words=worded,
    )


def _with_given(meant: tuple[str, ...], given: Collection[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that tags mean, and those with exemplars from outside, unless that leaves nothing common."""
    every = tuple(name for name in classes if name in meant or name in given)
    return meant if len(every) == len(classes) > 1 else every


def _meant(tags: Counter[str], counts: Counter[str], classes: Sequence[str], labels: int) -> tuple[str, ...]:
    """Return the classes that tags mean: all of them but the common ones, which came by a slip.

    A class is common if its share is above the greater of 5 % and three times that of the rarest class whose tags are
    not stray, and above 15 % in any case. The probability of that is that of the shares' posterior under a uniform
    prior, by the labels that were not sought: with none the number of classes tells how frequent one is. Tags that are
    stray need labels which show their class rare, others need labels which show it common. A class that is tagged
    alone is meant.
    """
    most = max(tags.values(), default=0)
    firm = [name for name in tags if tags[name] > _STRAY_TAGS * most]
    rarest = min(firm, key=lambda name: (counts[name], -tags[name], classes.index(name)), default=None)

    def is_meant(name: str) -> bool:
        if rarest is None or name == rarest:
            return name in tags
        common = _probability_of_common(counts[name], counts[rarest], labels, len(classes))
        odds = 1 / _ODDS if name in firm else _ODDS
        return name in tags and odds * common < 1.0 - common

    return tuple(name for name in classes if is_meant(name))


def _probability_of_common(count: int, reference: int, total: int, classes: int) -> float:
    """Return the probability that a class is common beside another, by how many of all labels are of each."""
    others = total - reference + classes - 1
    shares = betaincinv(reference + 1, others, _GRID)
    limits = np.clip(_TIMES_AS_FREQUENT * shares, _LEAST_COMMON, _SURELY_COMMON)
    rest = max(others - count - 1, 1e-9)  # with two classes nothing is left beside them
    return float(np.mean(1.0 - betainc(count + 1, rest, np.minimum(1.0, limits / (1.0 - shares)))))


def _reason(named: Sequence[str], exemplars: int, outside: int, worded: Sequence[str], *, with_cases: bool) -> str:
    """Say where the target comes from."""
    counts = [(exemplars, "tagged by readers"), (outside, "from outside")]
    parts = [f"{amount(count, 'exemplar')} {how}" for count, how in counts if count]
    shown = " and ".join([*parts, *([f"words for {' and '.join(worded)}"] if worded else [])])
    if named:
        looked_for = f"{' and '.join(named)} {'is' if len(named) == 1 else 'are'} looked for, as the lead chose"
        if not with_cases:
            looked_for += ", and no case is known yet"
        return f"{looked_for}, with {shown}" if shown else looked_for
    return shown or "nobody chose what to look for, and no exemplar is tagged"
