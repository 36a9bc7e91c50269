"""The engine for CUDA: on torch's CPU device, and on a CUDA device where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.acquisition import FUNCTIONS, Embedding, select
from clinical_backend.errors import InvalidArgumentError
from tests.acquisition.oracle import Case, assert_greedy, embeddings
from tests.cuda import needs_cuda, needs_no_cuda

CUDA = pytest.param({"device": "cuda"}, marks=needs_cuda)
DEVICES = pytest.mark.parametrize("where", [{"engine": "torch"}, CUDA])


@DEVICES
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("similarity", ["cosine", "rescaled"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_greedy_on_the_definition(name, similarity, classes, where):
    case = Case(
        *embeddings("clustered", (30, 5, 3), 8, seed=2, classes=classes),
        similarity=similarity,
        eta=0.8,
        nu=0.8,
    )
    assert_greedy(case, name, select(name, case.pool, case.query, 8, **where, **case.arguments(name)))


@DEVICES
@pytest.mark.parametrize("concave", ["log", "sqrt", "inverse"])
def test_knows_every_concave_function(concave, where):
    case = Case(*embeddings("relu", (30, 5, 3), 8, seed=2), concave=concave)
    assert_greedy(case, "com", select("com", case.pool, case.query, 8, concave=concave, **where))


@DEVICES
def test_fills_a_saturated_function_as_the_compiled_engine_does(where):
    pool, query, _ = embeddings("clustered", (80, 1, 1), 5, seed=8)
    ours = select("flvmi", pool, query, 80, eta=0.3)
    torchs = select("flvmi", pool, query, 80, eta=0.3, **where)
    assert ours.saturated_at == torchs.saturated_at
    np.testing.assert_array_equal(ours.indices, torchs.indices)


def test_refuses_what_is_not_finite_and_what_it_does_not_know():
    pool = Embedding(np.array([[1.0, 2.0], [np.nan, 0.0]]))
    query = Embedding(np.ones((1, 2)))
    with pytest.raises(InvalidArgumentError, match="pool"):
        select("flqmi", pool, query, 1, engine="torch")
    with pytest.raises(InvalidArgumentError, match="engine"):
        select("random", query, None, 1, engine="torch")


@needs_no_cuda
def test_refuses_a_device_that_is_not_there():
    query = Embedding(np.ones((1, 2)))
    with pytest.raises(InvalidArgumentError, match="device"):
        select("flqmi", query, query, 1, device="cuda")
