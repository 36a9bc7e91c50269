"""submodlib as the engine: the reference that our functions are tested against and compared with."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.request import Concave, Selection
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical_backend.acquisition.embedding import Embedding
    from clinical_backend.acquisition.request import Request

__all__ = ["submodlib_function", "submodlib_selection"]


def submodlib_selection(name: str, request: Request, *, optimizer: str | None = None) -> Selection:
    """Select with submodlib (Kaushal et al., arXiv 2202.10680), from our similarities.

    Its memory grows with n² for FLVMI and LOGDETMI. Ties are broken by no rule. Gains of GCMI are
    multiplied by 2λ, which it leaves out.

    Parameters
    ----------
    optimizer
        Of submodlib; by default its lazy greedy, for LOGDETMI, which is not submodular, its naive one.

    Raises
    ------
    InvalidArgumentError
        Where submodlib is not installed or does not know the function.
    """
    function = submodlib_function(name, request)
    if optimizer is None:
        optimizer = "NaiveGreedy" if name.startswith("logdet") else "LazyGreedy"
    most = min(request.budget, len(request.pool) - 1)  # it refuses to pick all
    picks = function.maximize(budget=most, optimizer=optimizer, show_progress=False) if most else []
    indices = np.array([index for index, _ in picks], np.int64)
    gains = np.array([gain for _, gain in picks], np.float64)
    if most < request.budget:
        last = np.setdiff1d(np.arange(len(request.pool)), indices)
        before = function.evaluate(set(indices.tolist())) if most else 0.0
        gain = function.evaluate(set(range(len(request.pool)))) - before
        indices, gains = np.append(indices, last), np.append(gains, gain)
    return Selection(indices, 2 * request.lambda_ * gains if name == "gcmi" else gains)


def _submodlib() -> Any:  # noqa: ANN401 - it has no types
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the escape sequences in its docstrings
            return importlib.import_module("submodlib")
    except ImportError as error:
        raise InvalidArgumentError(
            "engine", "submodlib is not installed.", "Install submodlib-py, or leave the engine out."
        ) from error


def submodlib_function(name: str, request: Request) -> Any:  # noqa: ANN401, PLR0911 - one return for each
    """Return the function of submodlib, constructed from our similarities."""
    submodlib = _submodlib()
    pool, query, private = request.pool, request.query, request.conditioning
    assert query is not None
    if private is not None:
        name = {"flvmi": "flcmi", "logdetmi": "logdetcmi"}.get(name, name)

    def kernel(left: Embedding, right: Embedding, *, non_negative: bool = False) -> NDArray[np.float32]:
        with Workers() as workers:
            pair = (Directions(left, "pool", workers), Directions(right, "query", workers))
            found = cross(*pair, Map.of(request.similarity, non_negative=non_negative), workers).kernel
        assert found is not None
        return found

    sizes = (len(pool), len(query))
    match name:
        case "flqmi":
            return submodlib.FacilityLocationVariantMutualInformationFunction(
                *sizes, query_sijs=kernel(pool, query), queryDiversityEta=request.eta
            )
        case "gcmi":
            return submodlib.GraphCutMutualInformationFunction(*sizes, query_sijs=kernel(pool, query))
        case "com":
            modes = importlib.import_module("submodlib_cpp").ConcaveOverModular
            mode = {
                Concave.LOG: modes.logarithmic,
                Concave.SQRT: modes.squareRoot,
                Concave.INVERSE: modes.inverse,
            }[request.concave]
            return submodlib.ConcaveOverModularFunction(
                *sizes,
                query_sijs=kernel(pool, query, non_negative=True),
                queryDiversityEta=request.eta,
                mode=mode,
            )
        case "flvmi":
            return submodlib.FacilityLocationMutualInformationFunction(
                *sizes,
                data_sijs=kernel(pool, pool),
                query_sijs=kernel(pool, query),
                magnificationEta=request.eta,
            )
        case "logdetmi":
            return submodlib.LogDeterminantMutualInformationFunction(
                *sizes,
                lambdaVal=request.lambda_,
                data_sijs=kernel(pool, pool),
                query_sijs=kernel(pool, query),
                query_query_sijs=kernel(query, query),
                magnificationEta=request.eta,
            )
        case "flcmi" if private is not None:
            return submodlib.FacilityLocationConditionalMutualInformationFunction(
                *sizes,
                len(private),
                data_sijs=kernel(pool, pool, non_negative=True),
                query_sijs=kernel(pool, query, non_negative=True),
                private_sijs=kernel(pool, private, non_negative=True),
                magnificationEta=request.eta,
                privacyHardness=request.nu,
            )
        case "logdetcmi" if private is not None:
            return submodlib.LogDeterminantConditionalMutualInformationFunction(
                *sizes,
                len(private),
                lambdaVal=request.lambda_,
                data_sijs=kernel(pool, pool),
                query_sijs=kernel(pool, query),
                query_query_sijs=kernel(query, query),
                private_sijs=kernel(pool, private),
                private_private_sijs=kernel(private, private),
                query_private_sijs=kernel(query, private),
                magnificationEta=request.eta,
                privacyHardness=request.nu,
            )
        case _:
            raise InvalidArgumentError(
                "engine", f"submodlib has no {name}.", "Leave the engine out, or choose an SMI function."
            )
