"""A case from outside, given to a real backend of a real Label Studio."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import numpy as np
from PIL import Image

from clinical_backend.lab.demo.dataset import drawn_cells
from clinical_backend.lab.servers.simulated_reader import SimulatedReader
from clinical_backend.origins import Draw
from tests.end_to_end.conftest import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import Loop


def test_cases_of_an_atlas_put_the_rare_cells_first_before_anybody_labelled_one(loop: Loop, tmp_path: Path) -> None:
    loop.connect()
    before = loop.status()["round"]
    assert before["acquisition"] == "coreset"
    atlas = drawn_cells(12, 3, seed=1234)
    files = []
    for number in np.flatnonzero(atlas.labels == 0).tolist():
        path = tmp_path / f"{number}.png"
        Image.fromarray(atlas.images[number]).save(path)
        files.append(("files", (path.name, path.read_bytes())))
    with httpx2.Client(base_url=loop.backend.url, auth=loop.backend.credentials, timeout=120.0) as browser:
        page = browser.get(f"/projects/{loop.id}/exemplars", headers={"Accept": "text/html"}).text
        token = re.search(r'name="token" value="([^"]+)"', page)
        assert token is not None
        fields = {"token": token[1], "finding": loop.demo.rare, "note": "an atlas", "pixels": "1"}
        answer = browser.post(f"/projects/{loop.id}/exemplars/outside", data=fields, files=files)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/projects/{loop.id}/exemplars")
    wait_until(lambda: (loop.status()["round"] or {}).get("target") == [loop.demo.rare], "a round that seeks it")
    loop.settle()
    report = loop.status()["round"]
    assert "3 exemplars from outside" in report["reason"]
    assert (report["counts"]["labelled"], report["counts"]["exemplars"]) == (0, 0)
    served = SimulatedReader(loop.client).next(loop.id)
    assert served is not None
    assert served.id == loop.queue()[0]
    published = loop.stores.rounds.published(loop.id)
    assert published is not None
    sought = [row.task_id for row in loop.stores.rounds.queue(published.id) if row.draw is Draw.TARGET]
    assert sum(loop.demo.truth[task] == loop.demo.rare for task in sought[:6]) >= 4  # of 8 among 60
