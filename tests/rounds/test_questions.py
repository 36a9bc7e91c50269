"""What the lead is asked, and what answers it."""

import pytest

from clinical_backend.labelstudio.labeling.labels import Labels
from clinical_backend.labelstudio.resources import Annotation
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.rounds.questions import find_questions, open_questions
from clinical_backend.rounds.reconcile import reconcile
from clinical_backend.storage.report import Kind, Question, RoundReport
from clinical_backend.strategy.target import find_target
from clinical_backend.workspace.project_options import (
    choose_rare,
    decline,
    drop_rare,
    look_for,
    named_classes,
    store_options,
)
from tests.rounds.fake_label_studio import CONFIG, FakeLabelStudio
from tests.small_workspace import picture
from tests.storage.started import start_round

CLASSES = ("a", "b", "c, or d")


def ask(classes, exemplars=(), against=(), *, named=(), declined=(), **labels):
    read = Labels(classes=classes, exemplars=tuple(exemplars), counter_exemplars=tuple(against), **labels)
    target = find_target(classes, read.exemplars, read.counter_exemplars, named, CLASSES)
    return find_questions(read, target, named, CLASSES, declined)


def kinds(questions):
    return [(question.kind, question.name, question.tasks) for question in questions]


def test_it_is_asked_which_finding_is_rare_until_somebody_names_one_or_tags():
    assert kinds(ask({})) == [(Kind.WHICH, None, ())]
    assert ask({}, named=("a",)) == []
    assert ask({1: "a"}, (1,)) == []


def test_a_class_that_is_rare_so_far_is_suggested_with_its_counts_and_not_twice():
    labels = dict.fromkeys(range(1, 118), "a") | dict.fromkeys(range(118, 121), "b")
    found = ask(labels)
    assert kinds(found)[1:] == [(Kind.RARE_SO_FAR, "c, or d", ()), (Kind.RARE_SO_FAR, "b", ())]
    assert "3 of 120 labels" in found[2].evidence
    assert kinds(ask(labels, declined=("b",)))[1:] == [(Kind.RARE_SO_FAR, "c, or d", ())]
    assert kinds(ask(dict.fromkeys(range(19), "a"))) == [(Kind.WHICH, None, ())]


def test_a_tag_on_a_class_that_is_not_looked_for_is_asked_about():
    labels = {1: "a", 2: "b", 3: "b"}
    asked = ask(labels, (1, 2, 3), named=("a",))
    assert kinds(asked) == [(Kind.ALSO, "b", (2, 3))]
    assert "only a is looked for" in asked[0].evidence
    assert ask(labels, (1, 2, 3), named=("a", "b")) == []
    assert ask(labels, (1, 2, 3), named=("a",), declined=("b",)) == []
    common = dict.fromkeys(range(1, 5), "a") | dict.fromkeys(range(5, 30), "b")
    slip = ask(common, range(1, 6))
    assert kinds(slip) == [(Kind.ALSO, "b", (5,))]
    assert "24 of 24 labels" in slip[0].evidence


def test_a_chosen_class_that_the_labeling_config_lacks_is_named():
    assert kinds(ask({}, named=("gone", "a"))) == [(Kind.UNKNOWN, "gone", ())]
    assert ask({}, named=("c, or d",)) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Carcinoma ", "Nearest: 'carcinoma'."),
        ("carcinom", "Nearest: 'carcinoma'."),
        ("mass", "'mass, other' has a comma: give it as a JSON list, as in [\"mass, other\"]."),
        ("xyz", "(any more). Take it away"),
    ],
)
def test_the_nearest_classes_to_an_unknown_name_are_said(name, said):
    classes = ("carcinoma", "naevus", "mass, other")
    target = find_target({}, (), (), (name,), classes)
    (question,) = find_questions(Labels(), target, (name,), classes, ())
    assert said in question.evidence


def test_what_tags_say_against_each_other_and_against_the_target_is_named():
    labels = {1: "a", 2: "a", 3: "b"}
    found = ask(labels, (1,), (2, 3), conflicting_tags=frozenset({9, 8}))
    assert kinds(found) == [(Kind.BOTH_TAGS, None, (8, 9)), (Kind.AGAINST, "a", (2,))]


def test_a_target_that_is_common_is_questioned():
    labels = dict.fromkeys(range(1, 40), "a") | {40: "b"}
    assert kinds(ask(labels, named=("a",))) == [(Kind.COMMON, "a", ())]


@pytest.fixture
def project(workspace):
    """A project whose last round asked about everything."""
    stores = workspace.stores
    stores.projects.change(1, label_config=CONFIG)
    asked = tuple(
        Question(kind, name, (7,), "Since.")
        for kind, name in [(Kind.RARE_SO_FAR, "red"), (Kind.ALSO, "red"), (Kind.BOTH_TAGS, None)]
    )
    stores.rounds.publish(start_round(stores, 1), RoundReport(target=("dark",), questions=asked), 5)
    return workspace


def open_kinds(workspace):
    return [question.kind for question in open_questions(workspace.project(1))]


def test_what_was_answered_is_not_open_any_more(project):
    assert open_kinds(project) == [Kind.WHICH, Kind.RARE_SO_FAR, Kind.ALSO, Kind.BOTH_TAGS]
    decline(project.project(1), "red")
    assert open_kinds(project) == [Kind.WHICH, Kind.BOTH_TAGS]
    store_options(project.project(1), ProjectOptions(), declined=())
    assert open_kinds(project) == [Kind.WHICH, Kind.RARE_SO_FAR, Kind.ALSO, Kind.BOTH_TAGS]
    choose_rare(project.project(1), ["dark"])
    assert open_kinds(project) == [Kind.ALSO, Kind.BOTH_TAGS]
    look_for(project.project(1), "red")
    assert project.project(1).settings.rare_classes == ("dark", "red")
    assert open_kinds(project) == [Kind.BOTH_TAGS]


def test_a_choice_that_is_taken_back_opens_the_question_again_and_none_by_name_answers_it(project):
    stores = project.stores
    choose_rare(project.project(1), ["dark"])
    drop_rare(project.project(1), "dark")
    assert stores.projects.get(1).page_options == {}
    assert open_kinds(project)[0] is Kind.WHICH
    store_options(project.project(1), ProjectOptions(rare_classes=()))
    assert Kind.WHICH not in open_kinds(project)


def test_a_class_that_is_set_elsewhere_can_be_taken_away_and_added_to(project):
    stores = project.stores
    stores.projects.change(1, options={"rare_classes": "dark, grey"}, request=None)
    assert open_kinds(project)[0] is Kind.UNKNOWN
    drop_rare(project.project(1), "grey")
    assert named_classes(project.settings, stores.projects.get(1)) == ("dark",)
    assert stores.projects.get(1).request == "what is looked for was changed"
    drop_rare(project.project(1), "dark")
    assert stores.projects.get(1).page_options == {"rare_classes": []}
    assert project.project(1).settings.rare_classes == ()


def test_what_is_looked_for_is_no_longer_declined(project):
    decline(project.project(1), "red")
    decline(project.project(1), "red")
    assert project.stores.projects.get(1).declined == ["red"]
    look_for(project.project(1), "red", beside=("dark",))
    row = project.stores.projects.get(1)
    assert (row.declined, row.page_options) == ([], {"rare_classes": ["dark", "red"]})


@pytest.fixture
def fake_client():
    uris = {n: picture(200 + n) for n in range(1, 13)} | {n: picture(0, blue=180 + n) for n in range(13, 25)}
    made = FakeLabelStudio(uris | {n: picture(n) for n in range(25, 61)})
    made.config = CONFIG.replace('<Choice value="red"/>', '<Choice value="red"/><Choice value="blue"/>')
    return made


@pytest.fixture
def studio(workspace, fake_client):
    """Return a Label Studio of three classes: 12 red images, 12 blue and 36 dark, of which 4, 4 and 16 are labelled."""
    workspace.settings = workspace.settings.model_copy(update={"queue_size": 8, "audit_share": 0.0})
    for task in [*range(1, 5), *range(13, 17), *range(25, 41)]:
        fake_client.annotate(task, kind(task))
    return fake_client


def kind(task):
    return "red" if task < 13 else "blue" if task < 25 else "dark"


def report(workspace):
    workspace.stores.projects.request_round(1, "test", delay=0)
    reconcile(workspace.project(1), look=False)
    assert workspace.stores.projects.get(1).problem is None
    return workspace.stores.rounds.latest(1).report


def queued(studio):
    return [kind(task) for task in studio.queue()]


def test_a_round_goes_on_with_the_leads_choice_and_asks_about_a_tag_on_another_class(workspace, studio):
    choose_rare(workspace.project(1), ["red"])
    studio.annotate(13, "blue", exemplar=True)
    first = report(workspace)
    assert (first.target, [one.asks for one in first.questions]) == (("red",), ["Look for blue too?"])
    assert queued(studio)[:5] == ["red"] * 5
    look_for(workspace.project(1), "blue")
    second = report(workspace)
    assert (second.target, second.questions) == (("red", "blue"), ())
    assert set(queued(studio)) == {"red", "blue"}


def test_a_round_does_not_follow_a_tag_that_slipped_and_goes_on_when_it_is_removed(workspace, studio):
    for task in (1, 2, 3, 4, 25):
        studio.annotate(task, kind(task), exemplar=True)
    slipped = report(workspace)
    assert (slipped.target, slipped.counts.exemplars) == (("red",), 4)
    assert [(one.kind, one.name, one.tasks) for one in slipped.questions] == [(Kind.ALSO, "dark", (25,))]
    assert queued(studio) == ["red"] * 8
    studio.annotate(25, "dark")
    assert report(workspace).questions == ()


def test_tags_on_a_class_that_was_declined_do_not_bring_it_back(workspace, studio):
    for task in (1, 13):
        studio.annotate(task, kind(task), exemplar=True)
    assert report(workspace).target == ("red", "blue")
    decline(workspace.project(1), "blue")
    assert (report(workspace).target, open_questions(workspace.project(1))) == (("red",), [])
    decline(workspace.project(1), "red")
    assert [one.kind for one in report(workspace).questions] == [Kind.WHICH]
    assert [one.kind for one in open_questions(workspace.project(1))] == [Kind.WHICH]


def test_without_a_choice_and_tags_a_round_looks_for_nothing_and_suggests(workspace, studio):
    found = report(workspace)
    assert (found.target, found.acquisition) == ((), "coreset")
    assert [one.kind for one in found.questions] == [Kind.WHICH, Kind.RARE_SO_FAR, Kind.RARE_SO_FAR]


def test_a_class_that_is_renamed_in_the_config_is_said_and_the_tags_go_on(workspace, studio):
    choose_rare(workspace.project(1), ["red"])
    studio.annotate(1, "red", exemplar=True)
    report(workspace)
    studio.config = studio.config.replace('"red"', '"crimson"')
    renamed = report(workspace)
    assert [(one.kind, one.name) for one in renamed.questions] == [(Kind.UNKNOWN, "red")]
    assert (renamed.target, renamed.counts.query) == ((), 1)


def test_a_round_says_what_is_tagged_both_ways(workspace, studio):
    tags = [{"from_name": "exemplar", "value": {"choices": ["more like this", "not like this"]}}]
    named = [{"from_name": "diagnosis", "value": {"choices": ["red"]}}]
    studio.answers[1] = [Annotation(id=1, result=[*named, *tags], lead_time=1.0)]
    choose_rare(workspace.project(1), ["red"])
    found = report(workspace)
    assert [(one.kind, one.tasks) for one in found.questions] == [(Kind.BOTH_TAGS, (1,))]
