from collections import Counter

import numpy as np
import pytest

from clinical_backend.acquisition import settable
from clinical_backend.origins import Draw
from clinical_backend.settings import load_settings
from clinical_backend.strategy.choice import choose_acquisition
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.target import Target, find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs

CLASSES = ("common", "rare")
NOTHING = FeaturedTasks(np.empty(0, dtype=np.int64), np.empty((0, 16), dtype=np.float32))
EVERY_SETTING = ["auto", *settable()]


@pytest.fixture
def cells():
    """Return 80 tasks of which the first 10 are rare, and stand apart."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(80, 16)).astype(np.float32)
    features[:10] += 4.0
    return FeaturedTasks(np.arange(100, 180), features)


def labelled(cells, rows):
    labels = {int(cells.tasks[row]): CLASSES[row < 10] for row in rows}
    return FeaturedTasks(cells.tasks[list(rows)], cells.features[list(rows)]), labels


def order(
    cells,
    rows=(),
    exemplars=(),
    counter_exemplars=(),
    number=1,
    pool=None,
    query_readable=True,
    counter_readable=True,
    targeted=(),
    groups=None,
    classes=CLASSES,
    **settings,
):
    known, labels = labelled(cells, rows)
    tagged = [int(cells.tasks[row]) for row in exemplars]
    against = [int(cells.tasks[row]) for row in counter_exemplars]
    target = find_target(labels, tagged, against, (), classes, targeted=[int(cells.tasks[row]) for row in targeted])
    at = [int(np.flatnonzero(cells.tasks == task)[0]) for task in target.query]
    query = FeaturedTasks(cells.tasks[at], cells.features[at]) if at and query_readable else NOTHING
    rest = np.setdiff1d(np.arange(80), list(rows))[:pool]
    queueable = FeaturedTasks(cells.tasks[rest], cells.features[rest])
    rows = list(counter_exemplars) if counter_readable else []
    unlike = FeaturedTasks(cells.tasks[rows], cells.features[rows])
    inputs = Inputs("", queueable, known, query, unlike, groups or {})
    fitted = fit(inputs, labels, classes, target, seed=0)
    return rank(load_settings(**{"queue_size": 20} | settings), inputs, target, fitted, round_number=number)


def test_without_labels_the_order_is_diverse_and_the_same_each_time(cells):
    choice, queue = order(cells)
    assert choice.acquisition == "coreset"
    assert [task.task_id for task in queue] == [task.task_id for task in order(cells)[1]]
    assert len({task.task_id for task in queue}) == 20
    assert {task.predicted for task in queue} == {None}


def test_exemplars_alone_lead_to_their_like(cells):
    choice, queue = order(cells, rows=(0, 1), exemplars=(0, 1), audit_share=0.0)
    assert choice.acquisition == "quality_diversity"
    assert "exemplars tagged" in choice.reason
    assert {task.task_id for task in queue[:8]} == set(range(102, 110))
    assert all(task.nearest_exemplar in {100, 101} for task in queue)
    assert queue[0].similarity > queue[-1].similarity


def test_a_classifier_that_sees_the_target_is_believed(cells):
    choice, queue = order(cells, rows=(0, 1, 2, 50, 51, 52, 53, 54), exemplars=(0, 1), audit_share=0.0)
    assert choice.acquisition == "quality_diversity"
    assert {task.task_id for task in queue[:12]} >= set(range(103, 110))
    assert queue[0].predicted == "rare"
    assert queue[0].rare_probability > 0.5 > queue[-1].rare_probability


def test_a_counter_exemplar_conditions_smi(cells):
    given = {"rows": (0, 70), "exemplars": (0,), "audit_share": 0.0, "acquisition": "logdetmi"}
    without = order(cells, **given)[1]
    choice, queue = order(cells, counter_exemplars=(70,), **given)
    assert choice.conditioned
    assert [task.task_id for task in queue] != [task.task_id for task in without]


def test_a_counter_exemplar_of_the_rare_class_turns_the_queue_away_from_its_kind(cells):
    cells.features[5:10, :8] -= 12.0  # half of the rare class is of another kind
    _, queue = order(cells, rows=(0, 5), exemplars=(0,), counter_exemplars=(5,), audit_share=0.0)
    assert {task.task_id for task in queue[:4]} == {101, 102, 103, 104}
    probabilities = {task.task_id: task.rare_probability for task in queue}
    assert all(probabilities.get(task, 0.0) < 0.2 for task in range(106, 110))


@pytest.mark.parametrize("setting", EVERY_SETTING)
@pytest.mark.parametrize("rows", [(), (0, 1), (0, 1, 2, 50, 51, 52)])
@pytest.mark.parametrize("against", [(), (60,), (52,)])
def test_every_acquisition_gives_a_whole_queue_at_every_stage(cells, setting, rows, against):
    choice, queue = order(cells, rows=rows, exemplars=rows[:2], counter_exemplars=against, acquisition=setting)
    assert len({task.task_id for task in queue}) == 20
    assert choice.reason


def test_a_share_of_the_queue_is_drawn_at_random_and_spread(cells):
    _, queue = order(cells, rows=(0, 1), exemplars=(0, 1), audit_share=0.25)
    places = [place for place, task in enumerate(queue) if task.draw is Draw.AUDIT]
    assert [place // 4 for place in places] == [0, 1, 2, 3, 4]
    _, other = order(cells, rows=(0, 1), exemplars=(0, 1), audit_share=0.25, number=2)
    drawn = [{task.task_id for task in one if task.draw is Draw.AUDIT} for one in (queue, other)]
    assert drawn[0] != drawn[1]


def test_the_audit_draws_from_all_of_the_pool_alike(cells):
    rare = 0
    for number in range(200):
        _, queue = order(cells, rows=(0, 1), exemplars=(0, 1), audit_share=0.5, number=number)
        rare += sum(task.draw is Draw.AUDIT and task.task_id < 110 for task in queue)
    # 2,000 draws of a pool of 78 with 8 rare: 205 expected, standard deviation 13.
    assert 150 < rare < 260


@pytest.mark.parametrize("setting", EVERY_SETTING)
@pytest.mark.parametrize("audit_share", [0.0, 0.9])
@pytest.mark.parametrize("pool", [0, 1, 2])
@pytest.mark.parametrize("rows", [(0, 1), (0, 1, 2, 50, 51, 52)])
def test_what_is_left_of_a_pool_is_queued_whole(cells, setting, audit_share, pool, rows):
    _, queue = order(cells, rows, rows[:2], pool=pool, acquisition=setting, audit_share=audit_share)
    assert len({task.task_id for task in queue}) == pool


@pytest.mark.parametrize("setting", EVERY_SETTING)
@pytest.mark.parametrize("rows", [(0, 1), (0, 1, 2, 50, 51, 52)])
def test_images_that_are_all_alike_are_ordered_all_the_same(cells, setting, rows):
    alike = FeaturedTasks(cells.tasks, np.ones_like(cells.features))
    _, queue = order(alike, rows, rows[:2], acquisition=setting)
    assert len({task.task_id for task in queue}) == 20


@pytest.mark.parametrize("setting", EVERY_SETTING)
def test_unreadable_counter_exemplars_are_left_out_of_account(cells, setting):
    given = {"rows": (0, 70), "exemplars": (0,), "acquisition": setting}
    choice, queue = order(cells, **given, counter_exemplars=(70,), counter_readable=False)
    assert not choice.conditioned
    assert [task.task_id for task in queue] == [task.task_id for task in order(cells, **given)[1]]


def test_a_diverse_order_keeps_away_from_what_is_labelled():
    generator = np.random.default_rng(0)
    centres = 20 * np.eye(6, 16, dtype=np.float32)
    kinds = np.arange(120) % 6
    cells = FeaturedTasks(np.arange(120), (centres[kinds] + generator.normal(size=(120, 16))).astype(np.float32))
    seen, rest = cells.tasks[kinds < 4][:16], cells.tasks[20:]
    target = find_target({}, (), (), (), CLASSES)
    fitted = fit(Inputs.of(NOTHING), {}, CLASSES, target, seed=0)
    inputs = Inputs.of(FeaturedTasks(seen, cells.features[seen]), FeaturedTasks(rest, cells.features[rest]))
    _, queue = rank(load_settings(queue_size=2, audit_share=0.0), inputs, target, fitted, round_number=1)
    assert {kinds[task.task_id] for task in queue} == {4, 5}


def test_exemplars_whose_images_are_unreadable_leave_a_diverse_order(cells):
    choice, queue = order(cells, (0, 1), (0, 1), query_readable=False)
    assert choice.acquisition == "coreset"
    assert {task.nearest_exemplar for task in queue} == {None}


def test_where_seeking_yields_nothing_a_part_of_the_queue_explores(cells):
    missed = range(40, 70)
    given = {"rows": (0, *missed), "exemplars": (0,), "audit_share": 0.1}
    _, trusted = order(cells, **given)
    choice, doubted = order(cells, **given, targeted=missed)
    assert {task.draw for task in trusted} == {Draw.TARGET, Draw.AUDIT}
    counts = Counter(task.draw for task in doubted)
    assert counts == {Draw.AUDIT: 2, Draw.DIVERSE: 4, Draw.TARGET: 14}
    assert "explores" in choice.reason
    assert len({task.task_id for task in doubted}) == 20
    sources = [task.draw for task in doubted if task.draw is not Draw.AUDIT]
    assert all(Draw.DIVERSE in sources[start : start + 5] for start in range(0, len(sources) - 5, 5))


def test_a_quarter_of_the_queue_goes_to_what_the_classifier_is_unsure_of_where_the_lead_wants_one(cells):
    given = {"rows": (0, 1, *range(40, 50)), "exemplars": (0, 1), "audit_share": 0.1}
    choice, queue = order(cells, **given, goal="classifier")
    counts = Counter(task.draw for task in queue)
    assert counts == {Draw.AUDIT: 2, Draw.TARGET: 14, Draw.MARGIN: 4}
    assert "GOAL" in choice.reason
    assert len({task.task_id for task in queue}) == 20
    _, sought = order(cells, **given)
    assert {task.draw for task in sought} == {Draw.TARGET, Draw.AUDIT}
    first = [task.task_id for task in sought if task.draw is Draw.TARGET][:14]
    assert [task.task_id for task in queue if task.draw is Draw.TARGET] == first
    draws = [task.draw for task in queue if task.draw is not Draw.AUDIT]
    assert all(Draw.MARGIN in draws[start : start + 5] for start in range(0, 14, 5))


def test_what_is_for_the_classifier_is_of_the_smallest_margins(cells):
    given = {"rows": (0, 1, 2, *range(40, 50)), "exemplars": (0, 1), "audit_share": 0.0}
    _, everything = order(cells, **given, queue_size=80)
    _, queue = order(cells, **given, goal="classifier")
    unsure = [task.probability for task in queue if task.draw is Draw.MARGIN]  # of the likelier of two classes
    assert max(unsure) < np.median([task.probability for task in everything])


def test_where_seeking_yields_nothing_what_is_not_for_the_classifier_explores(cells):
    missed = range(40, 70)
    given = {"rows": (0, *missed), "exemplars": (0,), "targeted": missed, "audit_share": 0.1}
    _, queue = order(cells, **given, goal="classifier")
    assert Counter(task.draw for task in queue) == {Draw.AUDIT: 2, Draw.MARGIN: 4, Draw.DIVERSE: 3, Draw.TARGET: 11}


@pytest.mark.parametrize("rows", [(), (0, 1)])
def test_nothing_is_for_a_classifier_that_knows_no_common_class_yet(cells, rows):
    wanted, usual = (order(cells, rows, rows, goal=goal)[1] for goal in ("classifier", "rare"))
    assert wanted == usual


def test_a_named_acquisition_does_not_follow_the_goal(cells):
    given = {"rows": (0, 1, *range(40, 50)), "exemplars": (0, 1), "acquisition": "p_rare"}
    assert order(cells, **given, goal="classifier") == order(cells, **given)


def test_without_a_target_no_class_is_sought_for_its_share(cells):
    choice, queue = order(cells, (0, *range(40, 70)), (), audit_share=0.0)
    assert choice.acquisition == "coreset"
    assert {task.draw for task in queue} == {Draw.DIVERSE}
    assert "nobody chose" in choice.reason


def test_a_slip_of_a_tag_makes_its_class_no_less_common(cells):
    common, tagged = range(40, 70), (0, 1, 2, 3, 40)
    _, queue = order(cells, (*range(4), *common), tagged, audit_share=0.0)
    assert {task.task_id for task in queue[:6]} == set(range(104, 110))
    assert all(task.rare_probability < 0.5 for task in queue[6:])
    assert 140 not in {task.nearest_exemplar for task in queue}


def test_a_named_acquisition_does_not_explore(cells):
    missed = range(40, 70)
    _, queue = order(cells, (0, *missed), (0,), targeted=missed, acquisition="p_rare", audit_share=0.0)
    assert {task.draw for task in queue} == {Draw.TARGET}


def test_a_queue_of_one_is_drawn_or_chosen_but_never_empty(cells):
    chosen = order(cells, (0, 1), (0, 1), queue_size=1, audit_share=0.1)[1]
    drawn = order(cells, (0, 1), (0, 1), queue_size=1, audit_share=0.9)[1]
    assert [task.draw for task in chosen + drawn] == [Draw.TARGET, Draw.AUDIT]


@pytest.mark.parametrize("size", [0, 1])
def test_a_pool_of_none_or_one_is_no_trouble_without_labels(cells, size):
    target = Target((), (), 0, (), "nothing")
    inputs = Inputs.of(NOTHING, FeaturedTasks(cells.tasks[:size], cells.features[:size]))
    fitted = fit(inputs, {}, CLASSES, target, seed=0)
    _, queue = rank(load_settings(), inputs, target, fitted, round_number=1)
    assert len(queue) == size


def test_what_a_setting_lacks_is_said(cells):
    known, labels = labelled(cells, (0, 1))
    target = find_target(labels, (100,), (), (), CLASSES)
    inputs = Inputs.of(known)
    fitted = fit(inputs, labels, CLASSES, target, seed=0)
    assert "needs a classifier" in choose_acquisition("entropy", target, fitted, Inputs.of(known, query=known)).reason
    assert "needs a query set" in choose_acquisition("p_rare", target, fitted, inputs).reason
    assert "needs a query set" in choose_acquisition("gcmi", target, fitted, inputs).reason


@pytest.mark.parametrize("setting", ["auto", "flqmi", "random"])
@pytest.mark.parametrize("cap", [1, 2])
@pytest.mark.parametrize("rows", [(), (0, 1, 2, 50, 51, 52)])
def test_no_patient_has_more_than_the_cap_in_a_queue(cells, setting, cap, rows):
    groups = {int(task): f"patient {(task - 100) // 3}" for task in cells.tasks}
    _, queue = order(
        cells, rows, rows[:2], acquisition=setting, audit_share=0.3, queue_size=20, group_cap=cap, groups=groups
    )
    counts = Counter(groups[task.task_id] for task in queue)
    assert max(counts.values()) <= cap
    assert len(queue) == 20


@pytest.mark.parametrize("setting", ["auto", "flqmi", "random"])
def test_a_patient_who_is_labelled_comes_after_all_others(cells, setting):
    groups = {int(task): f"patient {(task - 100) // 2}" for task in cells.tasks}  # 100 and 101 are one, and so on
    rows = (0, 2, 4, 50, 52, 54)
    seen = {groups[int(cells.tasks[row])] for row in rows}
    options = {"acquisition": setting, "groups": groups, "audit_share": 0.0}
    _, queue = order(cells, rows, rows[:2], queue_size=20, **options)
    assert not {groups[task.task_id] for task in queue} & seen
    _, everything = order(cells, rows, rows[:2], queue_size=80, **options)
    assert {groups[task.task_id] for task in everything[-len(seen) :]} == seen
    _, twice = order(cells, rows, rows[:2], queue_size=80, group_cap=2, **options)
    assert {groups[task.task_id] for task in twice[:20]} & seen  # one labelled task does not fill a cap of two


def test_a_cap_that_leaves_too_few_tasks_makes_a_shorter_queue(cells):
    groups = {int(task): f"patient {task % 4}" for task in cells.tasks}
    _, queue = order(cells, (0, 1), (0, 1), queue_size=20, groups=groups)
    assert sorted(groups[task.task_id] for task in queue) == [f"patient {number}" for number in range(4)]


@pytest.fixture
def cells_saved_twice(cells):
    """Return the same with copies of the ten rare cells, as they are when an image is saved again, in the last rows."""
    cells.features[70:] = cells.features[:10] + 0.05 * np.random.default_rng(1).normal(size=(10, 16))
    return cells


@pytest.mark.parametrize("setting", ["auto", "p_rare", "flqmi"])
def test_a_picture_that_was_saved_twice_takes_one_place_and_none_beside_an_answered_twin(cells_saved_twice, setting):
    given = {"rows": (0, 1, 50, 51), "exemplars": (0, 1), "acquisition": setting, "audit_share": 0.0}
    choice, queue = order(cells_saved_twice, **given)
    pictures = [task.task_id - 70 if task.task_id >= 170 else task.task_id for task in queue]
    assert len(set(pictures)) == 20
    assert not {100, 101} & set(pictures)
    assert set(pictures) >= set(range(102, 110))
    assert choice.near_copies >= 10
    choice, everything = order(cells_saved_twice, **given, queue_size=80)
    assert len({task.task_id for task in everything}) == 76
    assert {task.task_id for task in everything[-choice.near_copies :]} >= {170, 171}


def test_random_draws_know_nothing_of_copies_and_what_seeks_gives_way_to_them(cells_saved_twice):
    drawn = set()
    for number in range(60):
        _, queue = order(cells_saved_twice, (0, 1), (0, 1), audit_share=0.3, number=number, acquisition="p_rare")
        audit = {task.task_id for task in queue if task.draw is Draw.AUDIT}
        rest = {task.task_id for task in queue} - audit
        assert not {task + 70 for task in audit} & rest
        assert not {task - 70 for task in audit} & rest
        drawn |= audit
    assert drawn >= set(range(170, 180))


def test_what_explores_takes_no_copies_of_what_seeks(cells_saved_twice):
    missed = range(20, 50)
    choice, queue = order(cells_saved_twice, (0, *missed), (0,), targeted=missed, audit_share=0.1)
    assert choice.explores > 0
    sought = {task.task_id for task in queue if task.draw is Draw.TARGET}
    explored = {task.task_id for task in queue if task.draw is Draw.DIVERSE}
    assert explored
    assert not {task + 70 for task in sought if task < 110} & (sought | explored)
