"""Rehearsals of projects that are entered by hand, without a Label Studio."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.rehearsal.found_table import heading_of, tables, write_rehearsal
from clinical_backend.lab.rehearsal.known_tasks import read_known_tasks
from clinical_backend.lab.rehearsal.rehearsal import OWN, RANDOM, Wishes, labels_to, rehearse
from clinical_backend.multilabel import pack
from clinical_backend.origins import Origin
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.storage.testset import ReservedTask
from clinical_backend.workspace.project_options import store_options
from tests.lab.rehearsal import known_project
from tests.lab.rehearsal.known_project import RARE, TASKS, enter, label, searched

QUICK = {"repeats": 2, "labels": 30}
FLQMI = {"acquisition": ("flqmi",)}


def run(workspace, **wishes):
    return rehearse(workspace.project(1), Wishes(**{"changes": FLQMI, **QUICK, **wishes}), lambda *_: None)


def found(done, name):
    return float(np.mean([one.found[-1] for one in done.outcomes[name]]))


@pytest.fixture
def imported(workspace):
    """Return a workspace whose project is labelled as a whole."""
    enter(workspace)
    label(workspace, range(1, TASKS + 1))
    return workspace


def test_an_imported_project_is_rehearsed_as_it_is_and_the_search_beats_random_order(imported):
    done = run(imported)
    assert done.finished
    assert (done.pools.kind, done.tasks, done.rare) == ("labelled", TASKS, RARE - 3)
    assert list(done.outcomes) == [OWN, RANDOM, "acquisition flqmi"]
    assert all(len(one.found) == 30 for outcomes in done.outcomes.values() for one in outcomes)
    assert found(done, OWN) > 3 * found(done, RANDOM)
    assert "nothing has to be corrected" in done.remarks[0]


def test_a_rehearsal_is_the_same_again_and_repeats_differ(imported):
    first, second = run(imported), run(imported)
    assert first.to_json()["trials"] == second.to_json()["trials"]
    assert first.outcomes[RANDOM][0].found != first.outcomes[RANDOM][1].found


def test_without_a_wish_usual_settings_are_tried_but_for_those_that_the_project_has(imported):
    store_options(imported.project(1), ProjectOptions(acquisition="flqmi", audit_share=0.2))
    done = run(imported, changes={}, repeats=1)
    assert [trial.name for trial in done.trials] == [
        OWN,
        RANDOM,
        "acquisition auto",
        "acquisition p_rare",
        "acquisition entropy",
        "goal classifier",
        "audit share 0.05",
    ]
    assert done.trials[0].settings.acquisition == "flqmi"
    assert done.outcomes["acquisition auto"][0].found != done.outcomes["acquisition entropy"][0].found


def test_labels_that_a_search_chose_are_set_into_the_whole_project(workspace):
    enter(workspace)
    draws = searched(workspace)
    done = run(workspace)
    assert (done.pools.kind, done.tasks) == ("whole", TASKS)
    assert 0 < sum(done.unanswered[RANDOM]) <= 60
    said = " ".join(done.remarks)
    assert f"{TASKS - len(draws)} tasks that nobody labelled count as not rare" in said
    assert "with 95 % confidence" in said
    assert "favours your own settings" in said


def test_thinned_labels_hold_as_many_rare_cases_as_the_random_draws_say_and_others_in_each_repeat(workspace):
    enter(workspace)
    draws = searched(workspace)
    done = run(workspace, pool="thinned", labels=10)
    pools = [set(done.pools.draw(seed).pool.tolist()) for seed in (0, 1)]
    rare = [len([place for place in pool if place < RARE]) for pool in pools]
    common = sum(task > RARE for task in draws)
    share = done.known.shares["rare"].estimate
    expected = round(share / (1 - share) * common)
    assert rare == [expected + expected // 4] * 2
    assert rare[0] < sum(task <= RARE for task in draws)
    assert pools[0] != pools[1]
    assert all(len(pool) - rare[0] == common for pool in pools)


def test_with_too_few_random_draws_nothing_is_corrected_and_that_is_said(workspace):
    enter(workspace)
    searched(workspace, audit=10)
    done = run(workspace)
    assert done.pools.kind == "labelled"
    assert "are too few to correct that" in done.remarks[-1]
    assert "only compare settings within the labelled tasks" in done.remarks[-1]
    with pytest.raises(InvalidArgumentError, match="too little of how frequent"):
        run(workspace, pool="thinned")


def test_time_that_is_over_leaves_what_is_finished(imported, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    done = run(imported, changes={}, minutes=0.2)
    assert not done.finished
    assert done.outcomes[OWN]
    assert len(done.outcomes) < len(done.trials)
    assert any("not finished" in str(cell) for column in next(tables(done)).columns for cell in column.cells)


def test_less_time_than_one_repeat_takes_is_refused(imported, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: 100.0 * next(clock))
    with pytest.raises(InvalidArgumentError, match="too few for one repeat"):
        run(imported, minutes=0.1)


def test_tasks_without_a_feature_take_no_part_and_are_counted(workspace):
    enter(workspace, featured=150)
    label(workspace, range(1, TASKS + 1))
    done = run(workspace)
    assert done.tasks == 150
    assert "50 labelled tasks without a cached feature take no part." in done.known.notes


def test_a_class_of_which_nobody_found_a_case_is_left_out_and_named(workspace):
    enter(workspace, target=("rare", "odd"))
    label(workspace, range(1, TASKS + 1))
    known = read_known_tasks(workspace.project(1), (), seed=0)
    assert known.rare_classes == ("rare",)
    assert known.notes == ("Nobody found a case of odd, which takes no part.",)


def test_a_test_set_takes_no_part(workspace):
    enter(workspace)
    draws = searched(workspace)
    aside = next(task for task in range(1, TASKS + 1) if task not in draws)
    with workspace.stores.database.write() as session:
        session.add_all(ReservedTask(project_id=1, task_id=task, draw=0, place=task) for task in (aside, min(draws)))
    known = read_known_tasks(workspace.project(1), (), seed=0)
    assert (len(known.data), int(known.labelled.sum())) == (TASKS - 2, len(draws) - 1)
    assert known.notes[0] == "2 tasks of the test set take no part."


def test_labels_that_a_model_gave_prove_nothing(workspace):
    enter(workspace)
    label(workspace, range(1, TASKS + 1), origin=Origin.ACCEPTED)
    with pytest.raises(InvalidArgumentError, match="no labelled task of project 1 is rare"):
        run(workspace)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"changes": {"acquisition": ("guess",)}}, "'guess' is not possible"),
        ({"changes": {"audit_share": (2.0,)}}, "2.0 is not possible"),
        ({"rare": ("odd",)}, "no label gives 'odd'.*common, rare"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(imported, wishes, words):
    with pytest.raises(InvalidArgumentError, match=words):
        run(imported, **wishes)


def test_a_project_with_too_little_is_refused_with_the_cure(workspace):
    enter(workspace, target=())
    label(workspace, range(1, 31))
    with pytest.raises(InvalidArgumentError, match="--rare NAME"):
        run(workspace)
    with pytest.raises(InvalidArgumentError, match=r"30 labelled tasks.*at least 50"):
        run(workspace, rare=("rare",))
    label(workspace, range(15, 120))
    assert run(workspace, rare=("rare",), repeats=1, labels=5).rare == 5
    label(workspace, range(18, 120))
    with pytest.raises(InvalidArgumentError, match="3 rare cases are left"):
        run(workspace, rare=("rare",))


def test_an_adapted_network_takes_part_where_it_made_features_of_all_tasks(imported, monkeypatch):
    store = imported.feature_store("adapted", 3)
    project = imported.project(1)
    monkeypatch.setattr(project, "adapted", lambda: SimpleNamespace(store=store))
    digests = [f"{task}" for task in range(1, TASKS + 1)]
    store.add(digests[1:], np.ones((TASKS - 1, 3), dtype=np.float32))
    assert read_known_tasks(project, (), seed=0).learner.parts == ()
    store.add(digests[:1], np.ones((1, 3), dtype=np.float32))
    assert read_known_tasks(project, (), seed=0).learner.parts == (4, 3)


def test_several_findings_are_told_each_and_what_is_uncertain_stays_so(workspace):
    def findings(task):
        return pack((["rare"] if task <= RARE else []) + (["odd"] if 15 < task <= 30 else []), ["dim"])

    enter(workspace, target=("rare", "odd"))
    label(workspace, range(1, TASKS + 1), name=findings)
    done = run(workspace)
    assert done.known.data.label(0) == findings(1)
    one = done.outcomes[OWN][0]
    assert set(one.classes_found) == {"rare", "odd"}
    assert one.found[-1] == sum(counts[-1] for counts in one.classes_found.values())
    assert [str(column.header) for column in list(tables(done))[1].columns] == ["what was tried", "rare", "odd"]


def test_a_queue_holds_few_tasks_of_one_patient(workspace):
    enter(workspace, groups=dict.fromkeys(range(1, RARE + 1), "one"))
    label(workspace, range(1, TASKS + 1))
    apart = found(run(workspace, changes={"audit_share": (0.2,)}), OWN)
    workspace.stores.images._update(1, [{"task": task, "group_key": None} for task in range(1, RARE + 1)])
    assert apart < found(run(workspace, changes={"audit_share": (0.2,)}), OWN) / 2


def test_tasks_with_several_images_are_rehearsed_by_the_image_that_decides(workspace):
    enter(workspace, images=2)
    label(workspace, range(1, TASKS + 1))
    done = run(workspace)
    assert done.tasks == TASKS
    assert found(done, OWN) > 2 * found(done, RANDOM)


def test_where_a_network_is_adapted_to_their_images_it_finds_the_one_that_decides(workspace, monkeypatch):
    alike = np.random.default_rng(1).normal(10, size=(TASKS, 4)).astype(np.float32)
    monkeypatch.setattr(known_project, "points", lambda: alike)
    enter(workspace, images=2)
    label(workspace, range(1, TASKS + 1))
    assert found(run(workspace, repeats=1, labels=20), OWN) < RARE / 2
    store, project = workspace.feature_store("adapted", 2), workspace.project(1)
    shows = {f"{task}/{at}": task <= RARE and not at for task in range(1, TASKS + 1) for at in range(2)}
    store.add([*shows], np.array([[shown, 1] for shown in shows.values()], dtype=np.float32))
    monkeypatch.setattr(project, "adapted", lambda: SimpleNamespace(store=store))
    done = run(workspace, repeats=1, labels=20)
    assert found(done, OWN) > 2 * found(done, RANDOM)


def test_all_figures_and_a_chart_are_written(imported, tmp_path):
    done = run(imported)
    write_rehearsal(done, tmp_path / "out")
    kept = json.loads((tmp_path / "out/rehearsal.json").read_text())
    assert [one["name"] for one in kept["trials"]] == [OWN, RANDOM, "acquisition flqmi"]
    assert kept["trials"][0]["found"] == [one.found for one in done.outcomes[OWN]]
    assert "<svg" in (tmp_path / "out/rehearsal.svg").read_text()
    assert (tmp_path / "out/rehearsal.png").stat().st_size > 1000
    assert heading_of(done).startswith(
        "2 repeats of 30 labels among 200 tasks, of which 17 are rare (rare) beside the exemplars"
    )


def test_labels_to_a_share_are_counted_from_the_first_and_none_where_it_is_not_reached(imported):
    done = run(imported)
    one = done.outcomes[OWN][0]
    (half,) = labels_to([one], 0.5)
    assert one.found[half - 1] >= one.rare / 2 > one.found[half - 2]
    assert labels_to([done.outcomes[RANDOM][0]], 1.0) == [None]
