"""`select`: what it accepts and refuses, and the behaviour it states."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_backend.acquisition import Embedding, select
from clinical_backend.acquisition.request import Concave
from clinical_backend.errors import InvalidArgumentError
from tests.acquisition.oracle import Case, assert_greedy, embeddings


@pytest.fixture
def sets():
    return embeddings("clustered", (50, 4, 3), 6, seed=4)


def test_an_unknown_name_is_refused_with_the_known_ones(sets):
    with pytest.raises(InvalidArgumentError, match="flqmi"):
        select("flqmy", *sets[:2], 3)


@pytest.mark.parametrize("argument", ["eta", "lambda_", "nu", "weight"])
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "much"])
def test_a_weight_outside_its_domain_is_refused(sets, argument, value):
    with pytest.raises(InvalidArgumentError, match=argument):
        select("flqmi", *sets[:2], 3, **{argument: value})


@pytest.mark.parametrize("argument", ["similarity", "concave", "engine"])
def test_an_unknown_choice_is_refused(sets, argument):
    with pytest.raises(InvalidArgumentError, match=argument):
        select("com", *sets[:2], 3, **{argument: "euclidean"})


def test_eta_above_one_is_refused_for_log_determinants_with_the_reason(sets):
    with pytest.raises(InvalidArgumentError, match=r"eta.*indefinite"):
        select("logdetmi", *sets[:2], 3, eta=1.01)


def test_weights_that_make_the_conditional_matrix_indefinite_are_refused(sets):
    pool, query, _ = sets
    with pytest.raises(InvalidArgumentError, match="indefinite"):
        select("logdetcmi", pool, query, 20, nu=40.0, lambda_=0.01, conditioning=query)


@pytest.mark.parametrize("name", ["logdetmi", "logdetcmi", "quality_diversity"])
def test_log_determinants_refuse_a_clipped_similarity_and_a_lost_ridge(sets, name):
    more = {"conditioning": sets[2]} if name == "logdetcmi" else {}
    more |= {"probabilities": np.ones(50)} if name == "quality_diversity" else {}
    with pytest.raises(InvalidArgumentError, match="similarity"):
        select(name, *sets[:2], 3, similarity="clipped", **more)
    with pytest.raises(InvalidArgumentError, match="lambda_"):
        select(name, *sets[:2], 3, lambda_=0.0, **more)


@pytest.mark.parametrize("name", ["flqmi", "gcmi", "com", "random"])
def test_counter_exemplars_are_refused_by_functions_without_them(sets, name):
    with pytest.raises(InvalidArgumentError, match="conditioning"):
        select(name, *sets[:2], 3, conditioning=sets[2])


@pytest.mark.parametrize(("name", "kin"), [("flvmi", "flcmi"), ("logdetmi", "logdetcmi")])
def test_counter_exemplars_turn_a_function_into_its_conditional_kin(sets, name, kin):
    given = select(name, *sets[:2], 6, conditioning=sets[2])
    named = select(kin, *sets[:2], 6, conditioning=sets[2])
    np.testing.assert_array_equal(given.indices, named.indices)


@pytest.mark.parametrize("name", ["flvmi", "logdetmi"])
def test_counter_exemplars_push_their_like_away(name):
    """Two clusters resemble the query set equally; the counter-exemplars lie in one of them."""
    generator = np.random.default_rng(0)
    one, two = np.eye(12)[0] * 4, np.eye(12)[1] * 4
    pool = np.concatenate(
        [one + generator.standard_normal((40, 12)) / 3, two + generator.standard_normal((40, 12)) / 3]
    )
    query = Embedding(np.stack([one + two, one + two]) + generator.standard_normal((2, 12)) / 10)
    like_one = Embedding(one + generator.standard_normal((3, 12)) / 3)
    without = select(name, Embedding(pool), query, 4).indices
    given = select(name, Embedding(pool), query, 4, conditioning=like_one).indices
    assert (without < 40).any()
    assert (given[:2] >= 40).all()
    assert (given < 40).sum() < 4


def test_sets_of_other_widths_are_refused(sets):
    pool, query, _ = sets
    with pytest.raises(InvalidArgumentError, match="query"):
        select("flqmi", pool, Embedding(np.ones((2, 5))), 3)
    with pytest.raises(InvalidArgumentError, match="conditioning"):
        select("flvmi", pool, query, 3, conditioning=Embedding(np.ones((2, 5))))
    with pytest.raises(InvalidArgumentError, match="labelled"):
        select("coreset", pool, None, 3, labelled=Embedding(np.ones((2, 5))))
    with pytest.raises(InvalidArgumentError, match="residuals"):
        select("flqmi", pool, Embedding(query.features, np.ones((4, 2))), 3)


@pytest.mark.parametrize(
    "wrong",
    [
        np.ones(49),
        np.ones((50, 0)),
        np.full(50, np.nan),
        np.full(50, 1.5),
        -np.ones(50),
        np.array(["a"] * 50),
    ],
    ids=["length", "no class", "NaN", "above one", "negative", "words"],
)
def test_probabilities_that_are_none_are_refused(sets, wrong):
    with pytest.raises(InvalidArgumentError, match="probabilities"):
        select("p_rare", sets[0], None, 3, probabilities=wrong)


def test_probabilities_of_all_classes_need_the_rare_ones_named(sets):
    belief = np.full((50, 2), 0.5)
    for rare in (None, [], [2], [-1]):
        with pytest.raises(InvalidArgumentError, match="rare_classes"):
            select("p_rare", sets[0], None, 3, probabilities=belief, rare_classes=rare)
    with pytest.raises(InvalidArgumentError, match="probabilities"):
        select("entropy", sets[0], None, 3, probabilities=np.full(50, 0.5))


def test_a_saturated_function_goes_on_by_the_largest_cosine_to_the_query_set():
    generator = np.random.default_rng(1)
    query = Embedding(np.eye(3)[:1])
    features = np.concatenate([np.eye(3)[:1], np.eye(3)[1:] - 0.2 * np.eye(3)[0]])
    features = np.concatenate([features, -np.eye(3)[:1] + 0.01 * generator.standard_normal((5, 3))])
    selection = select("flqmi", Embedding(features), query, 8, eta=0.0, similarity="clipped")
    cosines = features @ np.eye(3)[0] / np.linalg.norm(features, axis=1)
    assert selection.saturated_at == 1
    assert (selection.gains[1:] == 0).all()
    assert (np.diff(cosines[selection.indices[1:]]) <= 1e-6).all()


@pytest.mark.parametrize("concave", list(Concave))
def test_com_goes_on_however_small_the_gains_become(concave):
    """Rounding of log(1 + s/(1 + c)) is absolute: beyond it, bounds of ever smaller gains must still hold."""
    pool = np.repeat(np.eye(2), [300, 60], axis=0)
    found = select("com", Embedding(pool), Embedding(pool[:1]), 300, eta=0.0, concave=concave)
    steps = np.arange(301)
    psi = {Concave.LOG: np.log1p(steps), Concave.SQRT: np.sqrt(steps), Concave.INVERSE: steps / (1 + steps)}[concave]
    assert found.saturated_at is None
    assert found.indices.tolist() == list(range(300))
    np.testing.assert_allclose(found.gains, np.diff(psi), rtol=1e-3)


def test_flvmi_says_where_it_saturates():
    pool, query, _ = embeddings("clustered", (80, 1, 1), 5, seed=8)
    selection = select("flvmi", pool, query, 80, eta=0.3)
    assert selection.saturated_at is not None
    assert (selection.gains[selection.saturated_at :] == 0).all()
    assert (selection.gains[: selection.saturated_at] > 0).all()


def test_numbers_of_any_size_keep_their_directions(sets):
    pool, query, _ = sets
    plain = select("flqmi", pool, query, 10)
    for factor in (1e-18, 1e18, 1e30):
        scaled = select("flqmi", Embedding(pool.features * np.float32(factor)), query, 10)
        np.testing.assert_array_equal(scaled.indices, plain.indices)
        np.testing.assert_allclose(scaled.gains, plain.gains, rtol=1e-5)


@pytest.mark.parametrize("name", ["flqmi", "gcmi", "com", "logdetmi"])
def test_a_million_numbers_in_a_read_only_mapping_are_not_copied(name, tmp_path):
    path = tmp_path / "features.f32"
    rows = np.random.default_rng(0).standard_normal((4000, 32)).astype(np.float32)
    rows.tofile(path)
    mapped = np.memmap(path, np.float32, mode="r").reshape(-1, 32)
    pool = Embedding(mapped)
    assert np.shares_memory(pool.features, mapped)
    query = Embedding(rows[:3])
    assert select(name, pool, query, 3).indices.tolist() == select(name, Embedding(rows), query, 3).indices.tolist()


def test_lambda_scales_gcmi(sets):
    one, two = (select("gcmi", *sets[:2], 5, lambda_=value) for value in (1.0, 2.5))
    np.testing.assert_allclose(two.gains, 2.5 * one.gains)


def test_small_gains_of_logdetmi_are_exact_too():
    case = Case(*embeddings("clustered", (40, 3, 2), 6, seed=3), eta=1e-4)
    selection = select("logdetmi", case.pool, case.query, 5, eta=1e-4)
    assert_greedy(case, "logdetmi", selection)
    assert selection.gains[0] < 1e-6
