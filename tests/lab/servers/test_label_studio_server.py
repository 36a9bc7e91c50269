"""Starting and stopping a real Label Studio of one's own."""

from __future__ import annotations

import os
import stat

import httpx2
import pytest

from clinical_backend.errors import LabelStudioUnavailableError
from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import Account, LabelStudioServer, find_label_studio
from tests.conftest import CACHE, label_config


def test_a_second_start_finds_the_account_and_all_data(tmp_path):
    with LabelStudioServer(tmp_path, cache=CACHE) as server:
        account, process = server.account, server.process_id
        with LabelStudioAdmin(server.url, account.token) as client:
            client.create_project("kept", label_config())
    with pytest.raises(ProcessLookupError):
        os.killpg(process, 0)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(server.url)
    with LabelStudioServer(tmp_path, cache=CACHE) as again:
        assert again.account == account
        with LabelStudioAdmin(again.url, account.token) as client:
            assert [project.title for project in client.projects()] == ["kept"]
            assert client.whoami().email == account.email


def test_the_account_is_for_nobody_else(tmp_path):
    file = tmp_path / "account.json"
    account = Account.kept_in(file)
    account.keep_in(file)
    assert Account.kept_in(file) == account
    assert Account.random() != account
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_missing_label_studio_is_refused_with_a_cure(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABEL_STUDIO_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabelStudioUnavailableError, match="make setup"):
        find_label_studio()
    monkeypatch.setenv("LABEL_STUDIO_BIN", str(tmp_path / "label-studio"))
    with pytest.raises(LabelStudioUnavailableError, match="LABEL_STUDIO_BIN"):
        find_label_studio()


def test_a_label_studio_that_stops_at_once_names_its_log(tmp_path):
    command = tmp_path / "bin" / "label-studio"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho cannot go on\nexit 3\n")
    command.chmod(0o755)
    server = LabelStudioServer(tmp_path / "data", cache=tmp_path / "cache", command=command)
    with pytest.raises(LabelStudioUnavailableError, match="exit code 3") as failure:
        server.start()
    assert (tmp_path / "cache" / "label-studio-migration.log").read_text() == "cannot go on\n"
    assert "label-studio-migration.log" in failure.value.cure
    assert server.process_id is None
