"""What is true of an acquisition, declared beside its implementation and read by all else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clinical_backend.acquisition.request import Request, Selection

    Run = Callable[[Request], Selection]

__all__ = ["Acquisition", "acquisition"]

Argument = Literal["query", "conditioning", "probabilities"]


@dataclass(frozen=True, slots=True)
class Acquisition:
    """An SMI function or a baseline.

    Attributes
    ----------
    name
        As `select` and ACQUISITION know it.
    label
        What it puts first, for people, in a few words.
    run
        Its implementation.
    needs
        The arguments of `select` that it cannot do without.
    conditional
        Whether it knows counter-exemplars.
    of_rare
        Whether its probabilities are those of the rare classes together.
    on_gradients
        Whether its definition is on gradient embeddings, and so needs a classifier.
    logdet
        Whether it takes the determinant of the similarities, which must then be positive definite.
    settable
        Whether a project may be ordered by it.
    """

    name: str
    label: str
    run: Run
    needs: frozenset[Argument] = frozenset()
    conditional: bool = False
    of_rare: bool = False
    on_gradients: bool = False
    logdet: bool = False
    settable: bool = False

    @property
    def needs_query(self) -> bool:
        """Whether it goes by a query set."""
        return "query" in self.needs

    @property
    def needs_classifier(self) -> bool:
        """Whether it goes by what a classifier believes of all classes."""
        return self.on_gradients or ("probabilities" in self.needs and not self.of_rare)

    @property
    def is_targeted(self) -> bool:
        """Whether it seeks a target; others order the pool for its own sake."""
        return self.needs_query or self.of_rare

    def given_counter_exemplars(self, name: str, label: str) -> Acquisition:
        """Return the same function under the name that it has with counter-exemplars, which it then needs."""
        return replace(self, name=name, label=label, needs=self.needs | {"conditioning"}, settable=False)


def acquisition(
    label: str,
    *,
    needs: Iterable[Argument] = (),
    conditional: bool = False,
    of_rare: bool = False,
    on_gradients: bool = False,
    logdet: bool = False,
    settable: bool = False,
) -> Callable[[Run], Acquisition]:
    """Declare a function to be the acquisition of its name: see :class:`Acquisition`."""

    def declared(run: Run) -> Acquisition:
        return Acquisition(
            run.__name__, label, run, frozenset(needs), conditional, of_rare, on_gradients, logdet, settable
        )

    return declared
