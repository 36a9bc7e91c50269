"""The image's own commands and those of the compose file, run outside containers; `make test-image` runs the image.

The Dockerfile and the compose files are linted and validated by `make check`. PostgreSQL is tested in tests/storage.
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
import yaml

from clinical_backend.commands import servers
from clinical_backend.lab.servers.redis_server import _binary
from clinical_backend.lab.servers.server import free_port
from clinical_backend.settings import load_settings
from clinical_backend.system.telemetry import SWITCHES
from tests.jobs.test_local_runner import wait_for

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")
BODY = b'{"action": "START_TRAINING", "project": {"id": 1}}'
GIVEN = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def instruction(name):
    """Return the last exec-form command of an instruction, as this environment finds it."""
    joined = DOCKERFILE.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.startswith(name)]
    return command(json.loads(lines[-1][lines[-1].index("[") :]))


def command(words):
    program = Path(sys.executable).with_name(Path(words[0]).name)
    return [str(program), *words[1:]]


def webhook_begun(environment):
    """Return a connection on which the first byte of a webhook's body is sent."""
    user = f"{environment['BASIC_AUTH_USER']}:c0ffee"
    lines = [
        "POST /webhook HTTP/1.1",
        "Host: backend.internal",
        f"Authorization: Basic {base64.b64encode(user.encode()).decode()}",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
    ]
    connection = socket.create_connection(("127.0.0.1", int(environment["PORT"])), timeout=30)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + BODY[:1])
    return connection


@pytest.fixture(scope="module")
def whole():
    """Return the compose file with every variable of .env.example set."""
    return yaml.safe_load(VARIABLE.sub(lambda match: GIVEN[match[1]], COMPOSE))


@pytest.fixture(scope="module")
def services(whole):
    return whole["services"]


@pytest.fixture
def secrets(services, tmp_path):
    """Return the environment's names of files that hold secrets, for a folder that stands for /run/secrets."""
    named = {name: value for name, value in services["backend"]["environment"].items() if name.endswith("_FILE")}
    folder = tmp_path / "secrets"
    folder.mkdir()
    for value in named.values():
        (folder / Path(value).name).write_text("c0ffee\n")
    return {name: str(folder / Path(value).name) for name, value in named.items()}


@pytest.fixture
def environment(services, secrets, tmp_path, redis_server, exported_backbones):
    """Return what the backend's services get, with addresses of this machine."""
    redis_server.client.flushdb()
    redis_server.client.config_set("requirepass", "c0ffee")
    shutil.copytree(exported_backbones, tmp_path / "backbones")
    image = dict(re.findall(r"\b([A-Z_]+)=(\S+)", DOCKERFILE[DOCKERFILE.rindex("ENV ") :].splitlines()[0]))
    assert (image["MODEL_DIR"], image["HOST"]) == ("/data", "0.0.0.0")
    wanted = {name: str(value) for name, value in services["backend"]["environment"].items()}
    assert services["worker"]["environment"] == services["backend"]["environment"]
    own = {
        "MODEL_DIR": str(tmp_path),
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "REDIS_URL": redis_server.url,
    }
    kept = {name: value for name, value in wanted.items() if name not in {"DATABASE_URL", "LOCAL_FILES_DOCUMENT_ROOT"}}
    yield {**os.environ, **kept, **secrets, **own}
    redis_server.client.config_set("requirepass", "")


def build(kind, source, folder):
    script = f"from setuptools import build_meta; build_meta.{kind}({str(folder)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=source, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the files of the sdist and of the wheel that is built from it, as paths without the sdist's own folder."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    left_out = shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left_out)
    (source / "tests").mkdir()
    (source / "tests" / "test_nothing.py").touch()
    build("build_sdist", source, folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        sdist = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    build("build_wheel", unpacked, folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return sdist, set(archive.namelist())


def test_sdist_and_wheel_hold_what_the_backend_runs_on(built):
    sdist, wheel = built
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "clinical_backend").rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".nbc", ".nbi"}  # compiled on this machine
    }
    kinds = ("py.typed", ".html", ".css", ".js", ".svg", "migrations/versions/v0001_first_release.py")
    assert all(any(path.endswith(kind) for path in package) for kind in kinds)
    assert package <= sdist
    assert package == {path for path in wheel if ".dist-info/" not in path}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "requirements.txt", "MANIFEST.in"} <= sdist
    assert not [path for path in sdist if path.startswith("tests")]
    assert any(path.endswith("licenses/LICENSE") for path in wheel)


def test_the_changelog_begins_with_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    releases = re.findall(r"^## (\S+) \(.+\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == version
    assert releases[-1] == "0.1.0"


def test_what_the_compose_file_asks_for_is_in_the_example_and_nothing_else():
    assert {match[1] for match in VARIABLE.finditer(COMPOSE)} == GIVEN.keys() - {"COMPOSE_PROFILES"}


def test_no_variable_must_be_set_so_that_nothing_of_a_service_that_is_not_started_is_asked_for():
    assert all(match[2] is not None for match in VARIABLE.finditer(COMPOSE))
    assert all(GIVEN[match[1]] == match[2] for match in VARIABLE.finditer(COMPOSE))


def test_beside_a_label_studio_of_ones_own_no_service_needs_the_one_here(services, whole):
    started = {name: service for name, service in services.items() if "profiles" not in service}
    assert services.keys() - started.keys() == {"label-studio"} == {GIVEN["COMPOSE_PROFILES"]}
    assert all(needed in started for service in started.values() for needed in service.get("depends_on", ()))
    assert "label_studio_password" not in {
        secret for service in started.values() for secret in service.get("secrets", ())
    }
    assert "label_studio_password" in services["label-studio"]["secrets"]
    assert whole["secrets"].keys() == {secret for service in services.values() for secret in service.get("secrets", ())}


def test_secrets_stand_in_no_environment_and_no_command(services):
    for service in services.values():
        names = {name for name in service.get("environment", {}) if re.search("PASS|KEY|TOKEN", name)}
        assert all(name.endswith("_FILE") or name == "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN" for name in names)
    files = {value for name, value in services["backend"]["environment"].items() if name.endswith("_FILE")}
    assert files == {f"/run/secrets/{secret}" for secret in services["backend"]["secrets"]}


def test_every_service_has_a_limit_of_memory_and_of_its_log_and_is_published_on_loopback(services):
    for name, service in services.items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        if name != "volume":  # it ends at once
            assert service["mem_limit"]
            assert re.fullmatch(r"\d+[ms]", service["stop_grace_period"])
            assert "test" in service.get("healthcheck", {}) or name == "backend"  # which has that of the image


def test_the_server_has_time_for_its_last_requests(services):
    assert int(services["backend"]["stop_grace_period"].removesuffix("s")) > servers._LAST_REQUESTS_SECONDS


def test_the_tag_is_the_version(services):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in ("volume", "backend", "worker"):
        assert services[name]["image"] == f"clinical-backend:{version}"


def test_settings_of_the_services_are_settings_of_the_backend(services):
    ours = {name.upper() for name in type(load_settings()).model_fields}
    assert {name.removesuffix("_FILE") for name in services["backend"]["environment"]} <= ours


def test_label_studio_accepts_the_backend_and_its_token(services):
    name = urlsplit(services["backend"]["environment"]["BACKEND_URL"]).hostname
    assert "." in name  # else it sends no webhooks there
    assert services["backend"]["networks"]["default"]["aliases"] == [name]
    label_studio = services["label-studio"]["environment"]
    assert label_studio["LABEL_STUDIO_ML_BLOCK_LOCAL_IP"] == "false"
    assert label_studio["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == "false"
    assert label_studio["LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"] == "true"
    assert "LABEL_STUDIO_USER_TOKEN=$$(cat /run/secrets/label_studio_api_key)" in services["label-studio"]["command"][0]
    assert services["backend"]["environment"]["LABEL_STUDIO_API_KEY_FILE"] == "/run/secrets/label_studio_api_key"


def test_the_image_runs_as_a_user_without_rights_and_is_checked():
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)
    assert "read_only: true" in COMPOSE


def test_libraries_call_nobody_in_the_image_and_label_studio_neither(services):
    image = dict(re.findall(r"\b([A-Z_]+)=(\S+)", DOCKERFILE))
    assert image.items() >= SWITCHES.items()
    label_studio = services["label-studio"]["environment"]
    off = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
    assert label_studio.items() >= off.items()
    assert services["label-studio"]["extra_hosts"] == ["raw.githubusercontent.com=127.0.0.1"]


def test_the_image_exports_the_network_that_the_backend_loads(exported_backbones):
    exported = {path: path.stat().st_mtime_ns for path in exported_backbones.iterdir()}
    words = [word.replace("/exported/backbones", str(exported_backbones)) for word in instruction("RUN [")]
    assert str(exported_backbones) in words[-1]
    subprocess.run(words, check=True)
    assert {path: path.stat().st_mtime_ns for path in exported_backbones.iterdir()} == exported


def test_the_services_run_are_healthy_and_end_when_they_are_told_to(services, environment, redis_server):
    check = instruction("HEALTHCHECK")

    def healthy(words=check):
        return subprocess.run(words, check=False, env=environment, stderr=subprocess.DEVNULL).returncode == 0

    worker_check = command(services["worker"]["healthcheck"]["test"][1:])
    assert not healthy()
    assert not healthy(worker_check)
    server = subprocess.Popen(instruction("CMD"), env=environment)
    worker = subprocess.Popen(command(services["worker"]["command"]), env=environment)
    try:
        wait_for(healthy)
        wait_for(lambda: healthy(worker_check))
        with webhook_begun(environment) as webhook:
            for process in (worker, server):
                process.send_signal(signal.SIGTERM)
            wait_for(lambda: not healthy())
            webhook.sendall(BODY[1:])
            assert webhook.recv(100).startswith(b"HTTP/1.1 200")
        assert worker.wait(30) == 0
        assert server.wait(30) == -signal.SIGTERM  # uvicorn ends so once the last request is answered
    finally:
        for process in (worker, server):
            process.kill()
            process.wait()


@pytest.mark.parametrize(("status", "code"), [(401, 0), (500, 1), (200, 1), (None, 1)])
def test_label_studio_is_well_while_its_database_refuses_a_token_that_nobody_has(services, status, code):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    words = services["label-studio"]["healthcheck"]["test"][1:]
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        port = str(server.server_port if status else free_port())
        script = words[-1].replace("8080", port)
        ran = subprocess.run([sys.executable, "-c", script], check=False, stderr=subprocess.DEVNULL)
        server.shutdown()
    assert ran.returncode == code
    assert asked == ([("/api/current-user/whoami", "Token none")] if status else [])


def test_redis_takes_its_password_from_the_file_and_is_well_only_with_it(services, tmp_path):
    """Run the service's own shell lines, with the server and the client that are installed here."""
    port, secret = str(free_port()), tmp_path / "redis_password"
    secret.write_text("c0ffee\n")
    programs = {
        "docker-entrypoint.sh": f'#!/bin/sh\nshift; exec "{_binary()}" "$@"\n',
        # Like the real one, which no package carries, it prints an error and ends as if all were well.
        "redis-cli": (
            f"#!{sys.executable}\nimport os\nfrom redis import Redis, RedisError\ntry:\n"
            f"    Redis(port={port}, password=os.environ['REDISCLI_AUTH']).ping()\n    print('PONG')\n"
            "except RedisError as error:\n    print(error)\n"
        ),
    }
    for name, program in programs.items():
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def line(words):
        return words[-1].replace("$$", "$").replace("/run/secrets/redis_password", str(secret))

    def healthy():
        check = line(services["redis"]["healthcheck"]["test"])
        return subprocess.run(["sh", "-c", check], env=environment, check=False, capture_output=True).returncode == 0

    started = line(services["redis"]["command"]).replace("--appendonly yes", f"--port {port} --bind 127.0.0.1")
    redis = subprocess.Popen(
        [*services["redis"]["entrypoint"], started], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        wait_for(healthy)
        assert "c0ffee" not in Path(f"/proc/{redis.pid}/cmdline").read_text()
        secret.write_text("another")
        assert not healthy()
    finally:
        redis.terminate()
        assert redis.wait(30) == 0
