from tests.end_to_end.test_findings import backend, films, loop, queue_of, having  # noqa
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.multilabel import findings_of
from tests.chromium import chromium_browser
import os

def test_shots(loop, label_studio):
    os.makedirs("/tmp/shots", exist_ok=True)
    reader = SimulatedReader(loop.client)
    for row in queue_of(loop)[:18]:
        reader.annotate(row.task_id, {"findings": sorted(findings_of(loop.demo.truth[row.task_id]))})
    number = loop.status()["round"]["number"]
    (entry,) = loop.client.backends(loop.id)
    loop.client.train(entry.id)
    loop.wait_for_round(number); loop.settle()
    with chromium_browser() as chromium:
        user, password = loop.backend.credentials
        ours = chromium.new_context(http_credentials={"username": user, "password": password}, viewport={"width":1280,"height":900}).new_page()
        ours.set_default_timeout(120000)
        for name in ("", "queue", "exemplars", "model", "second-look", "second-look/read", "settings"):
            ours.goto(f"{loop.backend.url}/projects/{loop.id}/{name}", wait_until="networkidle")
            ours.screenshot(path=f"/tmp/shots/{name.replace('/','-') or 'now'}.png", full_page=True)
