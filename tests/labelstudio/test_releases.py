"""Which releases are accepted, and that all that names one names the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx2
import pytest

from clinical_backend.errors import LabelStudioVersionError
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.labelstudio.connection.checks import Status, Wanted
from clinical_backend.labelstudio.connection.connect import connect, repair
from clinical_backend.labelstudio.connection.doctor import diagnose
from clinical_backend.labelstudio.releases import NEWEST_TESTED, OLDEST_TESTED, TESTED, require_supported

ROOT = Path(__file__).parent.parent.parent
URL = "http://127.0.0.1:9090"


@pytest.fixture
def client_of():
    """Return a function that connects with a Label Studio of a release that answers nothing else."""
    clients = []

    def make(release):
        answers = {"/api/version/": {"release": release}, "/api/current-user/whoami": {"id": 1}}
        transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=answers[request.url.path]))
        clients.append(LabelStudioClient("http://labels.example", "0" * 40, transport=transport))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("release", ["1.10.1", "1.12.0", "1.12.0.post0", "1.7.0", "0.9"])
def test_one_that_is_too_old_is_refused_with_its_cure_before_anything_is_changed(client_of, release):
    client = client_of(release)
    for act in (partial(connect, backend_url=URL), partial(repair, wanted=Wanted(URL))):
        with pytest.raises(LabelStudioVersionError, match=f"{release} .* is too old") as refused:
            act(client, 1)
        assert OLDEST_TESTED in refused.value.cure
    (found,) = diagnose(client, None, Wanted(URL))
    assert (found.check, found.status) == ("label studio", Status.ERROR)
    assert release in found.message
    assert OLDEST_TESTED in found.cure


@pytest.mark.parametrize("release", [*TESTED, "1.12.1.post0", "1.16", "v1.22.0", "unknown"])
def test_tested_ones_those_between_and_unreadable_ones_pass(client_of, release):
    client = client_of(release)
    assert require_supported(client.version(), client.url) == release
    found, _ = diagnose(client_of(release), None, Wanted(URL))
    assert found.status is Status.OK
    assert "newer" not in found.message


@pytest.mark.parametrize("release", ["1.23.3", "1.24.0.dev0", "1.100.0", "2.0"])
def test_newer_ones_pass_with_a_note(client_of, release):
    found, _ = diagnose(client_of(release), None, Wanted(URL))
    assert found.status is Status.OK
    assert f"newer than tested ({NEWEST_TESTED})" in found.message


def test_all_that_names_a_release_names_the_tested_ones():
    assert f"{OLDEST_TESTED} to {NEWEST_TESTED}" in (ROOT / "README.md").read_text()
    assert (ROOT / "requirements" / "label-studio.txt").read_text() == f"label-studio=={NEWEST_TESTED}\n"
    for file in ("docker-compose.yml", "docs/deploy.md"):
        assert f"heartexlabs/label-studio:{NEWEST_TESTED}" in (ROOT / file).read_text()
