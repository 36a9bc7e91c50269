import json

import pytest
from sqlalchemy import text

from clinical_backend.errors import StorageError
from clinical_backend.storage.report import (
    Asked,
    Counts,
    Evaluation,
    Kind,
    Preannotation,
    PromotionReport,
    Question,
    RoundReport,
    SecondLook,
)
from clinical_backend.storage.stores.stores import Stores
from tests.storage.started import start_round

FULL = RoundReport(
    acquisition="flqmi",
    reason="2 exemplars tagged by readers",
    class_control="diagnosis",
    not_learnt=("side",),
    target=("rare",),
    questions=(Question(Kind.ALSO, "other", (7, 9), "2 cases are of other."),),
    newest_task=90,
    counts=Counts(pool=80, labelled=10, queue=30, second_readings=2),
    second_look=SecondLook((Asked(3, "rare", 1, suspicion=0.9), Asked(4, "a", 1, at_random=True)), (5,), 1),
    measurements={"average_precision": 0.1 + 0.2, "chance": 0.1},
    promotion=PromotionReport(True, "not worse beyond chance", 5, 40, 0.8, 0.7),
    evaluation=Evaluation(("a", "rare"), ((8, 1), (0, 4)), (9, 4), "By cross-validation."),
    chances="The chance is learnt.",
    features="frozen",
    preannotations="head",
    preannotation=Preannotation.of("confident", {1: "a", 2: "b", 3: "a"}, {"a": {"above": 0.9, "labels": 90}}),
    seconds={"sync": 0.5},
    doubtful_labels=("1 answer has no class. Correct it.",),
    notes=("ä",),
)


def test_a_report_is_read_back_as_it_was():
    kept = FULL.to_json()
    assert RoundReport.from_json(json.loads(json.dumps(kept))) == FULL
    assert kept["questions"] == [
        {
            "kind": "look for it too",
            "name": "other",
            "tasks": [7, 9],
            "evidence": "2 cases are of other.",
            "asks": "Look for other too?",
        }
    ]
    assert kept["preannotation"]["confident"] == {"a": [1, 3], "b": [2]}


def test_of_a_promotion_only_what_was_measured_is_told():
    assert RoundReport(promotion=PromotionReport(True, "none before")).to_json()["promotion"] == {
        "promoted": True,
        "reason": "none before",
    }


def test_a_report_of_an_earlier_version_is_read_as_far_as_it_goes():
    kept = {
        "counts": {"queue": 4, "of_another_version": 1},
        "second_look": None,
        "evaluation": {
            "classes": ["a", "b"],
            "confusion": [[1, 0], [0, 1]],
            "recall": [1.0, None],
            "support": [1, 1],
            "method": "m",
        },
        "of_another_version": {},
    }
    report = RoundReport.from_json(kept)
    assert report == RoundReport(
        counts=Counts(queue=4), evaluation=Evaluation(("a", "b"), ((1, 0), (0, 1)), (1, 1), "m")
    )
    assert (report.newest_task, report.preannotation, report.promotion.promoted) == (None, None, None)


def test_a_round_without_an_end_has_an_empty_report(database):
    stores = Stores(database)
    stores.projects.register(1)
    row = start_round(stores, 1)
    assert stores.rounds.latest(1).report == RoundReport.from_json({}) == RoundReport()
    stores.rounds.publish(row, FULL, 3)
    assert stores.rounds.latest(1).report == FULL


@pytest.mark.parametrize("kept", ["[1]", "3", '{"counts": 3}', '{"questions": [{"kind": "unheard of"}]}'])
def test_what_is_no_report_is_told_of(database, kept):
    stores = Stores(database)
    stores.projects.register(1)
    start_round(stores, 1)
    with database.write() as session:
        session.execute(text("UPDATE rounds SET report = :kept"), {"kept": kept})
    with pytest.raises(StorageError, match="The database is damaged"):
        stores.rounds.latest(1)
