"""Back to an earlier round, against a real Label Studio: what readers are served, and what they are shown."""

from __future__ import annotations

import subprocess
import sys

from clinical_backend.labelstudio.reader import Reader


def test_readers_get_an_earlier_queue_and_model_again(client, loop, backend):
    loop.connect()
    loop.tag(3)
    loop.wait_for_round(1, exemplars=3)
    loop.settle()
    first = loop.status()["round"]["number"]
    queue = loop.queue()
    reader = Reader(client)
    for _ in range(5):
        task = reader.next(loop.id)
        reader.annotate(task.id, {"diagnosis": [loop.demo.truth[task.id]]})
    loop.wait_for_round(first, labels=8)
    loop.settle()
    later = loop.status()["published_version"]
    done = subprocess.run(
        [sys.executable, "-m", "clinical_backend", "rollback", str(loop.id), str(first)],
        env=backend.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status = loop.status()
    assert f"rollback to round {first}" in done.stdout
    assert (status["round"]["state"], status["round"]["because"]) == ("published", f"rollback to round {first}")
    version = client.project(loop.id).model_version
    assert version == status["published_version"] != later
    answered = {task.id for task in client.annotated_tasks(loop.id)}
    assert loop.queue() == [task for task in queue if task not in answered]
    assert client.model_versions(loop.id)[version] == len(loop.queue())
    assert reader.next(loop.id).id == loop.queue()[0]
