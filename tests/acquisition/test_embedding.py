"""Embeddings: what they hold, and that a gradient never has to be built."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.acquisition import Embedding, select
from clinical_backend.acquisition.compiled.similarity import Directions, Map, cross
from clinical_backend.acquisition.compiled.threads import Workers
from clinical_backend.acquisition.request import Similarity
from clinical_backend.errors import InvalidArgumentError
from tests.acquisition.oracle import embeddings, unit, vectors


@pytest.mark.parametrize("wrong", [np.ones(3), np.ones((3, 0)), np.ones((2, 2, 2)), [["a"]], np.ones((2, 2), complex)])
def test_what_is_no_matrix_of_real_numbers_is_refused(wrong):
    with pytest.raises(InvalidArgumentError, match="features"):
        Embedding(wrong)
    with pytest.raises(InvalidArgumentError, match="residuals"):
        Embedding(np.ones((3, 2)), wrong)


def test_residuals_of_another_length_are_refused():
    with pytest.raises(InvalidArgumentError, match="residuals"):
        Embedding(np.ones((3, 2)), np.ones((2, 2)))


def test_float32_rows_are_kept_without_a_copy_and_cannot_be_written():
    rows = np.ones((3, 2), np.float32)
    embedding = Embedding(rows)
    assert np.shares_memory(embedding.features, rows)
    assert not embedding.features.flags.writeable
    assert rows.flags.writeable


def test_take_keeps_rows_and_residuals_together():
    embedding = Embedding(np.arange(8.0).reshape(4, 2), np.arange(4.0)[:, None])
    taken = embedding.take([3, 1])
    assert taken.features.tolist() == [[6, 7], [2, 3]]
    assert taken.residuals.tolist() == [[3], [1]]
    assert len(embedding.take(np.array([True, False, False, True]))) == 2


@pytest.mark.parametrize("classes", [0, 2, 9])
@pytest.mark.parametrize("similarity", list(Similarity))
def test_factorised_similarities_equal_those_of_the_built_gradients(classes, similarity):
    pool, query, _ = embeddings("relu", (300, 7, 1), 40, seed=1, classes=classes)
    with Workers() as workers:
        found = cross(
            Directions(pool, "pool", workers),
            Directions(query, "query", workers),
            Map.of(similarity),
            workers,
        )
    cosines = unit(vectors(pool)) @ unit(vectors(query)).T
    expected = {
        Similarity.COSINE: cosines, Similarity.RESCALED: (cosines + 1) / 2, Similarity.CLIPPED:
        np.maximum(cosines, 0)
    }[similarity]  # fmt: skip
    np.testing.assert_allclose(found.kernel, expected, atol=1e-6)
    np.testing.assert_allclose(found.nearest, cosines.max(1), atol=1e-6)
    np.testing.assert_allclose(found.total, expected.sum(1), atol=1e-5)


@pytest.mark.parametrize("name", ["flqmi", "gcmi", "com", "flvmi", "logdetmi"])
def test_a_factorised_embedding_is_ranked_like_the_built_one(name):
    pool, query, _ = embeddings("clustered", (200, 6, 1), 12, seed=6, classes=3)
    factorised = select(name, pool, query, 8)
    built = select(name, Embedding(vectors(pool)), Embedding(vectors(query)), 8)
    np.testing.assert_array_equal(factorised.indices, built.indices)
    np.testing.assert_allclose(factorised.gains, built.gains, rtol=1e-4)
