"""Where the server listens, and who may call it there."""

import logging
import os
import stat
import subprocess
import sys

import pytest
import uvicorn

from clinical_backend import cli
from clinical_backend.service.exposure import examine_exposure, require_consent
from clinical_backend.settings import SettingsError, load_settings
from clinical_backend.web.http_protocol import TimelyProtocol

PASSWORD = {"basic_auth_user": "u", "basic_auth_pass": "p"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gpu-box", "fd00::1"])
def test_a_network_is_not_served_without_a_password_unless_that_is_meant(host):
    with pytest.raises(SettingsError, match="OPEN_ACCESS"):
        require_consent(load_settings(host=host))
    require_consent(load_settings(host=host, open_access=True))
    require_consent(load_settings(host=host, **PASSWORD))
    assert examine_exposure(load_settings(host=host, open_access=True))[0].check == "access"
    assert "access" not in [found.check for found in examine_exposure(load_settings(host=host, **PASSWORD))]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "127.0.0.2"])
def test_loopback_is_served_without_ado(host):
    require_consent(load_settings(host=host))
    assert examine_exposure(load_settings(host=host)) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_label_studio_cannot_know_is_said(host):
    (found,) = examine_exposure(load_settings(host=host, **PASSWORD))
    assert "BACKEND_URL" in found.cure
    assert examine_exposure(load_settings(host=host, backend_url="http://backend:9090", **PASSWORD)) == []


@pytest.mark.parametrize("missing", ["password", "host"])
def test_the_command_refuses_with_a_sentence(tmp_path, missing):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BASIC_AUTH")}
    given = {"HOST": "0.0.0.0"} if missing == "password" else {"ALLOWED_HOSTS": "http://x"}
    done = subprocess.run(
        [sys.executable, "-m", "clinical_backend", "serve"],
        env=environment | {"MODEL_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": "k", "PORT": "0"} | given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ("OPEN_ACCESS=true" if missing == "password" else "ALLOWED_HOSTS") in done.stderr


def test_the_command_serves_with_limits_says_once_what_is_open_and_keeps_its_files_to_itself(
    tmp_path, monkeypatch, caplog
):
    served = []
    monkeypatch.setattr(uvicorn, "run", lambda *_arguments, **options: served.append(options))
    for name, value in {"MODEL_DIR": tmp_path / "model-dir", "LABEL_STUDIO_API_KEY": "k"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("OPEN_ACCESS", "true")
    umask = os.umask(0)
    try:
        with caplog.at_level(logging.WARNING):
            cli.serve()
        (tmp_path / "model-dir" / "made-later").touch()
    finally:
        os.umask(umask)
    assert served[0]["http"] is TimelyProtocol
    assert caplog.text.count("no password is asked for") == 1
    assert caplog.text.count("Set BACKEND_URL") == 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model-dir").iterdir()} == {0o600}
