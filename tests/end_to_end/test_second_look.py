"""A missed finding comes to a second reader among the others, without the first answer, and leaves nothing behind."""

from __future__ import annotations

from collections import Counter

import httpx2

from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.service.second_readings import Outcome, read_again
from clinical_backend.storage.schema import ReadingState
from clinical_backend.strategy.reasons import UNLED_REASON
from tests.end_to_end.conftest import Loop, wait_until

TEXT = '<TextArea name="reason" toName="image" visibleWhen="choice-unselected" editable="false"/></View>'


def published_order(loop: Loop) -> list[int]:
    """Return what stands in the queue: ordinary tasks, and at the free places second readings."""
    published = loop.stores.rounds.published(loop.id)
    placed = {one.rank: one.task_id for one in loop.stores.rounds.queue(published.id)}
    again = iter([one.task_id for one in published.report.second_look.asked])
    size = len(placed) + len(published.report.second_look.asked)
    return [placed[place] if place in placed else next(again) for place in range(size)]


def states(loop: Loop) -> dict[int, ReadingState]:
    return {task: row.state for task, row in loop.stores.second_readings.all(loop.id).items()}


def test_missed_findings_are_read_again_blind_by_another_reader_at_their_place(loop, second_client):
    config = loop.client.project(loop.id).label_config
    loop.client.update_project(loop.id, label_config=config.rpartition("</View>")[0] + TEXT)
    first, second = SimulatedReader(loop.client), SimulatedReader(second_client)
    rare = loop.demo.rare
    (common, _), *_ = Counter(name for name in loop.demo.truth.values() if name != rare).most_common()
    cases = [task for task, name in loop.demo.truth.items() if name == rare]
    others = [task for task, name in loop.demo.truth.items() if name == common]
    tagged, missed = cases[:4], cases[4:6]
    for task in tagged:
        first.annotate(task, {"diagnosis": [rare], "exemplar": ["more like this"]})
    for task in [*others[:12], *missed]:
        first.annotate(task, {"diagnosis": [common]})
    second.annotate(others[12], {"diagnosis": [common]})
    loop.connect(start_training_each_n_updates=1000, queue_size=12, second_look_share=0.2, preannotate="all")
    wait_until(lambda: set(states(loop)) & set(missed), "a missed finding asked for")
    loop.stores.second_readings.ask(loop.id, dict.fromkeys(missed, (common, 1)))  # as the lead does on the page
    loop.stores.projects.request_round(loop.id, "test", delay=0)
    wait_until(lambda: set(states(loop)) >= set(missed) and ReadingState.ASKED not in states(loop).values(), "both")
    loop.settle()
    order, again = published_order(loop), set(states(loop))
    assert again >= set(missed)
    assert len(order) == 12 + len(again)
    assert set(states(loop).values()) == {ReadingState.OPEN}
    served = []
    while not served or served[-1] not in missed:
        raw = second_client.session.request("GET", f"api/projects/{loop.id}/next/")
        task = second.next(loop.id)
        assert raw["id"] == task.id
        served.append(task.id)
        if task.id in again:
            assert raw["annotations"] == []
            shown = [region["value"] for one in raw["predictions"] for region in one["result"]]
            assert shown == [{"text": [UNLED_REASON]}]
        second.annotate(task, {"diagnosis": [loop.demo.truth[task.id]]})
    assert served == order[: len(served)]
    read = served[-1]
    (left,) = set(missed) - {read}
    mine = []
    while (own := first.next(loop.id)) is not None and len(mine) < 5:
        mine.append(own.id)
        first.annotate(own, {"diagnosis": [loop.demo.truth[own.id]]})
    assert mine
    assert not again & set(mine)
    wait_until(lambda: states(loop)[read] is ReadingState.READ, "both answers noted")
    (task,) = loop.client.tasks_with_answers(loop.id, [read])
    assert (task.overlap, task.is_labeled) == (1, True)
    assert len({annotation.completed_by for annotation in task.annotations}) == 2
    (open_,) = loop.client.tasks_with_answers(loop.id, [left])
    assert (open_.overlap, open_.is_labeled) == (2, False)
    (found,) = [one for one in read_again(loop.project) if one.task_id == read]
    assert [name for _, name in found.answers] == [common, rare]
    doubtful = loop.status()["second_look"]["agreement"]["doubtful"]
    assert doubtful["cases"] == sum(state is ReadingState.READ for state in states(loop).values()) >= 1
    assert doubtful["disagreements"] >= 1
    page = httpx2.get(
        f"{loop.backend.url}/projects/{loop.id}/readers/cases",
        auth=loop.backend.credentials,
        headers={"Accept": "text/html"},
        timeout=60.0,
    ).text
    assert "still open" in page
    assert f"<dd>{rare}</dd>" in page
    (entry,) = loop.client.backends(loop.id)
    user, password = loop.backend.credentials
    options = {"start_training_each_n_updates": 1000, "queue_size": 12, "second_look_share": 0}
    loop.client.update_backend(entry, extra_params=options, basic_auth_user=user, basic_auth_pass=password)
    assert loop.stores.second_readings.take_back(loop.id, left)
    wait_until(lambda: left not in states(loop), "what was not read put back")
    everything = loop.client.tasks_with_answers(loop.id, loop.demo.truth)
    assert {task.overlap for task in everything} == {1}
    assert all(task.is_labeled == bool(task.annotations) for task in everything)
    first.change(task.annotations[0].id, {"diagnosis": [rare]})
    loop.stores.projects.request_round(loop.id, "test", delay=0)
    wait_until(
        lambda: {one.task_id: one.outcome for one in read_again(loop.project)}[read] is Outcome.CHANGED,
        "the correction read back",
    )
