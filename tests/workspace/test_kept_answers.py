"""What a round read, kept for the page of the settings: all that an order depends on, and nobody's name."""

from collections import Counter
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from clinical_backend.labelstudio.labeling.answers import Unread, Why
from clinical_backend.labelstudio.labeling.labels import Answered, Labels, Source
from clinical_backend.labelstudio.labeling.project_labels import ReaderAnswer
from clinical_backend.labelstudio.resources import Project
from clinical_backend.origins import AnswerKind
from clinical_backend.workspace.kept_answers import KeptAnswers, load_answers, save_answers

PROJECT = Project(id=1, title="Cells", created_at=datetime(2026, 1, 1, tzinfo=UTC), maximum_annotations=2)
ADA, BEN = 987654, 876543
READ_BY = {"stars": True, "class_control": None}
LABELS = Labels(
    classes={1: "a", 2: "b"},
    exemplars=(1,),
    counter_exemplars=(2,),
    skipped=frozenset({3}),
    disagreed={4: ("a", "b")},
    conflicting_tags=frozenset({5}),
    answered=frozenset({1, 2}),
    first_answers={
        1: Answered(Source.READER, 1.5, 1.0, 1, seen_by=frozenset({ADA, BEN})),
        2: Answered(Source.MODEL, seen_by=frozenset({BEN})),
    },
    disputed={4: ((str(ADA), "a"), (str(BEN), "b"))},
    tagged={1: (str(ADA), 2.0)},
    unknown_classes=Counter(c=2),
    unread={6: Unread(Why.WITHHELD)},
    read_twice={1: ((ADA, "a"), (BEN, "a"))},
    last_answers={ADA: 5.0, BEN: 6.0},
    stands_for={1: frozenset({"a"})},
    images={1: {0: "a"}},
    tagged_images={1: frozenset({0})},
    deciding=("b", "a"),
    by_reader=(ReaderAnswer(1, 1, ADA, "a", 1.5, 0.5, AnswerKind.OWN),),
    names={ADA: "Ada Byron"},
)


def test_what_an_order_depends_on_comes_back(tmp_path):
    save_answers(tmp_path, KeptAnswers(PROJECT, LABELS, READ_BY))
    kept = load_answers(tmp_path)
    assert (kept.project, kept.read_by) == (PROJECT, READ_BY)
    told = {"first_answers", "disputed", "tagged", "read_twice", "last_answers", "by_reader", "names"}
    for field in fields(Labels):
        if field.name not in told:
            assert getattr(kept.labels, field.name) == getattr(LABELS, field.name), field.name
    assert kept.labels.seen == LABELS.seen
    (one, both) = (kept.labels.first_answers[task].seen_by for task in (2, 1))
    assert (len(one), len(both), one < both) == (1, 2, True)
    assert both == kept.labels.last_answers.keys()
    assert kept.labels.last_answers[next(iter(one))] == 6.0
    assert [name for _, name in kept.labels.disputed[4]] == ["a", "b"]


def test_nobody_is_named_in_it(tmp_path):
    save_answers(tmp_path, KeptAnswers(PROJECT, LABELS, READ_BY))
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [word for word in (str(ADA), str(BEN), "Ada", "Byron") if word.encode() in content]


@pytest.mark.parametrize("damage", [b"", b"{", b"x" * 20])
def test_one_that_was_changed_on_disk_counts_as_none(tmp_path, damage):
    assert load_answers(tmp_path) is None
    save_answers(tmp_path, KeptAnswers(PROJECT, LABELS, READ_BY))
    save_answers(tmp_path, KeptAnswers(PROJECT, replace(LABELS, skipped=frozenset()), READ_BY))
    (answers,) = tmp_path.glob("answers-*.json")
    answers.write_bytes(damage)
    assert load_answers(tmp_path) is None
