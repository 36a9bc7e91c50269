"""What a round looks for: the rare classes, and the tasks that stand for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import betainc

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["Target", "find_target"]

_RARE_SHARE = 0.1
_COMMON_SHARE = 0.3
_ENOUGH_LABELS = 20
_ENOUGH_TO_CALL_COMMON = 10
_QUERY_LIMIT = 200
_LEAST_YIELD = 0.1
_LEAST_SHARE = 0.01


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
    counter_exemplars
        Tasks tagged "not like this".
    reason
        Where the target comes from, for people.
    sought, hits
        How many labels were given because a round sought the target, and how many of them are of its classes.
    unsought, chance_hits
        The same of all other labels but the exemplars': what an order that seeks nothing meets.
    unmet
        Classes that no label has, where nobody named the target: it may be one of them.
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
    unmet: tuple[str, ...] = ()

    @property
    def missed(self) -> float:
        """The probability that labels which sought nothing have missed a class that one image in a hundred is of.

        0 where each class has a label, or somebody named the target.
        """
        return float((1.0 - _LEAST_SHARE) ** self.unsought) if self.unmet else 0.0

    @property
    def doubt(self) -> float:
        """The probability that seeking the target is in vain, by what it has yielded.

        In vain is a yield below twice what the other labels met, and below one in ten in any case. The probability
        is that of the yield's posterior under a uniform prior; 0 while nothing was sought. An exemplar that is not
        typical of its class leads to where there is little.
        """
        if not self.sought:
            return 0.0
        chance = (self.chance_hits + 0.5) / (self.unsought + 1)
        return float(betainc(1 + self.hits, 1 + self.sought - self.hits, min(_LEAST_YIELD, 2 * chance)))


def find_target(
    labels: Mapping[int, str],
    exemplars: Sequence[int],
    counter_exemplars: Sequence[int],
    rare_classes: Sequence[str],
    classes: Sequence[str],
    *,
    targeted: Collection[int] = (),
    disputed: Collection[int] = (),
) -> Target:
    """Decide what to look for: tagged exemplars first, then the setting, then what proved rare.

    Parameters
    ----------
    labels
        Class by task, of all labelled tasks.
    exemplars, counter_exemplars
        Tasks that readers tagged.
    rare_classes
        The setting of that name.
    classes
        Classes of the labeling config.
    targeted
        Tasks that were labelled because a round sought the target: they do not tell how frequent a class is.
    disputed
        Tasks whose class readers do not agree on: none is in the query set.
    """
    sought = set(targeted) | set(exemplars)
    counts = Counter(name for task, name in labels.items() if task not in sought)
    unmet: tuple[str, ...] = ()
    if exemplars:
        tagged = {labels[task] for task in exemplars if task in labels}
        targets = tuple(name for name in classes if name in tagged)
        # A class that is common among the labels would drown what the reader pointed at.
        enough = counts.total() >= _ENOUGH_TO_CALL_COMMON
        members = [name for name in targets if not enough or counts[name] <= _COMMON_SHARE * counts.total()]
        reason = f"{len(exemplars)} exemplars tagged by readers"
    elif known := tuple(name for name in rare_classes if name in classes):
        targets, members = known, list(known)
        reason = "no exemplar is tagged: RARE_CLASSES names the target"
    elif counts.total() >= _ENOUGH_LABELS:
        met = set(labels.values())
        targets = tuple(name for name in classes if name in met and counts[name] < _RARE_SHARE * counts.total())
        members = list(targets)
        unmet = tuple(name for name in classes if name not in met)
        reason = f"no exemplar is tagged: classes below {_RARE_SHARE:.0%} of the labels are the target"
    else:
        targets, members, reason = (), [], "no exemplar is tagged and too few labels tell what is rare"
    found = [task for task, name in labels.items() if name in members and task not in exemplars]
    blocked = {*counter_exemplars, *disputed}
    query = [task for task in [*exemplars, *found] if task not in blocked][:_QUERY_LIMIT]
    tried = [labels[task] for task in targeted if task in labels]
    return Target(
        targets,
        tuple(query),
        len(exemplars),
        tuple(counter_exemplars),
        reason,
        sought=len(tried),
        hits=sum(name in targets for name in tried),
        unsought=counts.total(),
        chance_hits=sum(counts[name] for name in targets),
        unmet=unmet,
    )
