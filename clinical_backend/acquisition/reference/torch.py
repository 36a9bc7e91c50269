"""The functions on torch: for a CUDA device, and for the tests on the CPU.

Every gain is computed for every pick in a few large operations, which is what an accelerator is good
at. Picks equal those of the compiled engine apart from ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from clinical_backend.acquisition.compiled.greedy import TIE, complete, largest
from clinical_backend.acquisition.request import Concave, Selection, Similarity
from clinical_backend.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from clinical_backend.acquisition.embedding import Embedding
    from clinical_backend.acquisition.request import Request

__all__ = ["torch_selection"]

_ROUNDING = 1e-7
_BLOCK_NUMBERS = 1 << 27  # in one block of the similarities between points of the pool


def torch_selection(name: str, request: Request) -> Selection:
    """Select with torch on ``request.device``.

    Raises
    ------
    InvalidArgumentError
        Where the device is not there, the function is none of the SMI functions, or a row is not finite.
    """
    functions = {
        "flqmi": _flqmi, "gcmi": _gcmi, "com": _com, "flvmi": _flvmi, "flcmi": _flvmi,
        "logdetmi": _logdetmi, "logdetcmi": _logdetmi,
    }  # fmt: skip
    if name not in functions:
        raise InvalidArgumentError("engine", f"torch has no {name}.", "Leave the engine out.")
    if request.device.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidArgumentError("device", f"there is no {request.device} on this machine.", "Use the device cpu.")
    with torch.inference_mode():
        return functions[name](request)


class _Vectors:
    """Unit rows of the factors of an embedding, on the device."""

    def __init__(self, embedding: Embedding, request: Request, argument: str) -> None:
        values = [torch.from_numpy(embedding.features.copy()).to(request.device)]
        if embedding.residuals is not None:
            ones = torch.ones((len(embedding), 1), device=values[0].device)
            values[0] = torch.cat([values[0], ones], dim=1)
            values.append(torch.from_numpy(embedding.residuals.copy()).to(request.device))
        self.factors = [_unit(each, argument) for each in values]
        self.similarity = request.similarity

    def to(self, others: _Vectors, rows: slice = slice(None), *, non_negative: bool) -> torch.Tensor:
        """Return the similarities of all these points to some of the others."""
        result = self.factors[0] @ others.factors[0][rows].T
        if len(self.factors) == 2:
            result *= self.factors[1] @ others.factors[1][rows].T
        result.clamp_(-1, 1)
        if self.similarity is Similarity.RESCALED:
            return result.add_(1).div_(2)
        return result.clamp_(min=0) if non_negative or self.similarity is Similarity.CLIPPED else result

    def points(self, rows: slice) -> torch.Tensor:
        """Return the vectors z of which the similarity matrix is the Gram matrix, float64."""
        vectors = self.factors[0][rows].double()
        if len(self.factors) == 2:
            vectors = (self.factors[1][rows].double()[:, :, None] * vectors[:, None, :]).flatten(1)
        if self.similarity is Similarity.RESCALED:
            vectors = torch.cat([vectors, torch.ones_like(vectors[:, :1])], dim=1) / 2**0.5
        return vectors

    def inner(self, directions: torch.Tensor) -> torch.Tensor:
        """Return the (n, k) inner products of all z with k directions, (k, D) float64."""
        extra = torch.zeros(len(directions), device=directions.device)
        if self.similarity is Similarity.RESCALED:
            directions = directions / 2**0.5
            directions, extra = directions[:, :-1], directions[:, -1].float()
        directions = directions.float()
        if len(self.factors) == 1:
            return self.factors[0] @ directions.T + extra
        count, classes = len(directions), self.factors[1].shape[1]
        product = self.factors[0] @ directions.reshape(count * classes, -1).T
        product = product.reshape(-1, count, classes) * self.factors[1][:, None, :]
        return product.sum(dim=2) + extra


def _unit(values: torch.Tensor, argument: str) -> torch.Tensor:
    norms = values.double().norm(dim=1, keepdim=True)
    if not bool(torch.isfinite(norms).all()):
        broken = int((~torch.isfinite(norms[:, 0])).nonzero()[0, 0])
        raise InvalidArgumentError(
            argument,
            f"row {broken} holds NaN or infinite numbers.",
            "Leave out the images whose vectors could not be computed.",
        )
    return (values / torch.where(norms > 0, norms, 1.0)).float()


def _sets(request: Request) -> tuple[_Vectors, _Vectors]:
    assert request.query is not None
    return _Vectors(request.pool, request, "pool"), _Vectors(request.query, request, "query")


def _greedy(
    budget: int,
    gains_of: Callable[[], torch.Tensor],
    add: Callable[[int], None],
    *,
    relevance: torch.Tensor | None = None,
    least: float = 0.0,
) -> Selection:
    indices, gains = np.empty(budget, np.int64), np.empty(budget)
    taken: list[int] = []
    for step in range(budget):
        current = gains_of().double()
        current[taken] = -torch.inf
        best = float(current.max())
        if relevance is not None and best <= least:
            return complete(indices[:step], gains[:step], budget, relevance.cpu().numpy())
        pick = int((current >= best - float(TIE) * abs(best)).to(torch.uint8).argmax())
        indices[step], gains[step] = pick, float(current[pick])
        taken.append(pick)
        add(pick)
    return Selection(indices, gains)


def _flqmi(request: Request) -> Selection:
    pool, query = _sets(request)
    kernel = pool.to(query, non_negative=True)
    own = request.eta * kernel.amax(dim=1)
    covered = torch.zeros_like(kernel[0])

    def add(pick: int) -> None:
        torch.maximum(covered, kernel[pick], out=covered)

    relevance = pool.to(query, non_negative=False).amax(dim=1)
    least = _ROUNDING * kernel.shape[1]
    return _greedy(
        request.budget,
        lambda: (kernel - covered).clamp_(min=0).sum(dim=1) + own,
        add,
        relevance=relevance,
        least=least,
    )


def _gcmi(request: Request) -> Selection:
    pool, query = _sets(request)
    total = pool.to(query, non_negative=False).sum(dim=1).double()
    return largest((2 * request.lambda_ * total).cpu().numpy(), request.budget)


def _com(request: Request) -> Selection:
    pool, query = _sets(request)
    kernel = pool.to(query, non_negative=True)
    own = request.eta * _psi(kernel.sum(dim=1).double(), request.concave)
    covered = torch.zeros_like(kernel[0], dtype=torch.float64)

    def gains() -> torch.Tensor:
        grown = _psi(kernel + covered, request.concave) - _psi(covered, request.concave)
        return own + grown.sum(dim=1)

    def add(pick: int) -> None:
        covered.add_(kernel[pick])

    return _greedy(request.budget, gains, add, relevance=pool.to(query, non_negative=False).amax(dim=1))


def _psi(values: torch.Tensor, kind: Concave) -> torch.Tensor:
    if kind is Concave.LOG:
        return torch.log1p(values)
    return torch.sqrt(values) if kind is Concave.SQRT else values / (1 + values)


def _flvmi(request: Request) -> Selection:
    pool, query = _sets(request)
    relevance = pool.to(query, non_negative=False).amax(dim=1)
    cap = request.eta * pool.to(query, non_negative=True).amax(dim=1)
    covered = torch.zeros_like(cap)
    if request.conditioning is not None:
        private = _Vectors(request.conditioning, request, "conditioning")
        covered = request.nu * pool.to(private, non_negative=True).amax(dim=1)
    size = max(1, _BLOCK_NUMBERS // len(cap))

    def gains() -> torch.Tensor:
        parts = []
        for start in range(0, len(cap), size):
            block = pool.to(pool, slice(start, start + size), non_negative=True)
            parts.append((torch.minimum(block, cap[:, None]) - covered[:, None]).clamp_(min=0).sum(dim=0))
        return torch.cat(parts)

    def add(pick: int) -> None:
        column = pool.to(pool, slice(pick, pick + 1), non_negative=True)[:, 0]
        torch.maximum(covered, torch.minimum(column, cap), out=covered)

    least = _ROUNDING * float((cap - covered).clamp(min=0).sum(dtype=torch.float64))
    return _greedy(request.budget, gains, add, relevance=relevance, least=least)


def _logdetmi(request: Request) -> Selection:
    """See `volume`, whose algebra this is."""
    pool, query = _sets(request)
    known = query.points(slice(0, 0))
    scales = torch.zeros(0, dtype=torch.float64, device=known.device)
    if request.conditioning is not None:
        known = _Vectors(request.conditioning, request, "conditioning").points(slice(None))
        scales = torch.full((len(known),), request.nu, dtype=torch.float64, device=known.device)
    points = torch.cat([known, query.points(slice(None))])
    scales = torch.cat([scales, torch.full((len(query.factors[0]),), request.eta, device=scales.device)])
    ridge = request.lambda_ * torch.eye(len(points), dtype=torch.float64, device=points.device)
    lower = torch.linalg.cholesky(points @ points.T + ridge)
    given = torch.linalg.solve_triangular(lower, torch.diag(scales) @ points, upper=False)
    basis = [given[: len(known)], given]
    squares = pool.inner(given).double().square()
    nonzero = torch.stack([factor.abs().amax(dim=1) > 0 for factor in pool.factors]).all(dim=0).double()
    own = (nonzero + 1) / 2 if request.similarity is Similarity.RESCALED else nonzero
    variances = request.lambda_ + own - squares[:, : len(known)].sum(dim=1)
    explained = squares[:, len(known) :].sum(dim=1)

    def ratios() -> torch.Tensor:
        if float(variances.min()) <= 0 or float((variances - explained).min()) <= 0:
            raise InvalidArgumentError(
                "eta",
                "with this eta, nu and lambda_ the similarity matrix is indefinite.",
                "Give eta and nu the same value of at most 1, or a larger lambda_.",
            )
        return explained / variances

    def add(pick: int) -> None:
        point = pool.points(slice(pick, pick + 1))[0]
        one, two = (point - (each @ point) @ each for each in basis)
        variance = request.lambda_ + point @ one
        rest = request.lambda_ + point @ two
        first, second = one / variance.sqrt(), two / rest.sqrt()
        basis[0], basis[1] = torch.cat([basis[0], first[None]]), torch.cat([basis[1], second[None]])
        both = pool.inner(torch.stack([first, first - second])).double()
        variances.sub_(both[:, 0].square())
        explained.sub_(both[:, 1] * (2 * both[:, 0] - both[:, 1]))

    selection = _greedy(request.budget, ratios, add)
    return Selection(selection.indices, -np.log1p(-selection.gains))
