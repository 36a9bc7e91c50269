"""Fixtures that all tests share: a real Label Studio, its users, and projects with images."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx2
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from sqlalchemy import insert, inspect

from clinical_backend.lab.servers.label_studio_admin import LabelStudioAdmin
from clinical_backend.lab.servers.label_studio_server import LabelStudioServer
from clinical_backend.lab.servers.postgresql_server import PostgreSQLServer
from clinical_backend.lab.servers.redis_server import RedisServer
from clinical_backend.lab.servers.server import free_port
from clinical_backend.labelstudio.labeling.layout import with_exemplar_control
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.storage import database
from clinical_backend.storage.database import Database
from clinical_backend.storage.migrations import upgrade
from clinical_backend.storage.schema import ModelFolder
from tests.end_to_end.google_store import google_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from clinical_backend.labelstudio.resources import Project

pytest_plugins = ["tests.small_workspace"]

CACHE = Path(os.environ.get("TESTS_CACHE") or Path(__file__).parent.parent / ".cache")
IMAGE_COUNT = 40

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", parent=settings.default, deadline=None)
settings.load_profile("untimed")


class MakeProject(Protocol):
    """Creates a project with images."""

    def __call__(
        self, images: int = ..., *, classes: tuple[str, ...] = ..., exemplars: bool = ..., sampling: str = ...
    ) -> Project: ...


@pytest.fixture(scope="session")
def newest_tables(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the statements that make the tables of a new SQLite database in one go, as all migrations leave them."""
    folder = tmp_path_factory.mktemp("tables")
    Database.in_folder(folder).close()
    with closing(sqlite3.connect(folder / "clinical.sqlite3")) as made:
        statements = [line for line in made.iterdump() if line not in {"BEGIN TRANSACTION;", "COMMIT;"}]
    assert sum(line.startswith('INSERT INTO "model_folder"') for line in statements) == 1
    return [line for line in statements if not line.startswith('INSERT INTO "model_folder"')]


@pytest.fixture(scope="session", autouse=True)
def tables_in_one_go(newest_tables: list[str]) -> Iterator[None]:
    """Spare the thousands of tests that open a new database the migrations; tests of these take them back."""

    def upgrade_at_once(connection: Connection) -> None:
        if connection.dialect.name != "sqlite" or inspect(connection).get_table_names():
            upgrade(connection)
            return
        for statement in newest_tables:
            connection.exec_driver_sql(statement)
        connection.execute(insert(ModelFolder), {"identity": secrets.token_hex(8), "bound": False})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "upgrade", upgrade_at_once)
        yield


@pytest.fixture(scope="session")
def google_port() -> int:
    """Return the port where Label Studio expects Google Cloud Storage; see ``google_store``."""
    return free_port()


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory, google_port: int) -> Iterator[LabelStudioServer]:
    """Return a running Label Studio that accepts backends on loopback."""
    folder, environment = tmp_path_factory.mktemp("label-studio"), google_environment(google_port)
    with LabelStudioServer(folder, cache=CACHE, environment=environment) as server:
        yield server


@pytest.fixture(scope="session")
def exported_backbones() -> Path:
    """Return a folder that holds the default backbone, exported: that takes long."""
    folder = CACHE / "backbones"
    backbone = load_backbone(folder=folder, device="cpu")
    for size in backbone.sizes:
        backbone.embed(np.zeros((1, size, size, 3), dtype=np.uint8))
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """Return a running PostgreSQL."""
    with PostgreSQLServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a running Redis."""
    with RedisServer(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def client(label_studio: LabelStudioServer) -> Iterator[LabelStudioAdmin]:
    """Return the administrator's connection, with a legacy token."""
    with LabelStudioAdmin(label_studio.url, label_studio.account.token) as connection:
        yield connection


@pytest.fixture(scope="session")
def personal_access_token(client: LabelStudioAdmin) -> str:
    """Return the administrator's personal access token; each user may have one."""
    skip_before(client, "1.17", "has no personal access tokens")
    token: str = client.session.request("POST", "api/token/")["token"]
    return token


@pytest.fixture(scope="session")
def second_client(label_studio: LabelStudioServer, client: LabelStudioAdmin) -> Iterator[LabelStudioAdmin]:
    """Return the connection of a second reader, who signed up by invitation."""
    token = sign_up(client, "reader@example.com", "a-second-reader")
    with LabelStudioAdmin(label_studio.url, token) as connection:
        yield connection


@pytest.fixture(scope="session")
def image_paths(label_studio: LabelStudioServer) -> list[str]:
    """Return the addresses of small images that Label Studio serves, all different."""
    folder = label_studio.files / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(IMAGE_COUNT):
        pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return [f"/data/local-files/?d=images/{number:03}.png" for number in range(IMAGE_COUNT)]


@pytest.fixture(scope="session")
def make_project(client: LabelStudioAdmin, label_studio: LabelStudioServer, image_paths: list[str]) -> MakeProject:
    """Return a function that creates a project with so many images."""
    numbers = itertools.count(1)

    def make(
        images: int = 12,
        *,
        classes: tuple[str, ...] = ("common", "rare"),
        exemplars: bool = True,
        sampling: str = "Uncertainty sampling",
    ) -> Project:
        config = label_config(classes, exemplars=exemplars)
        project = client.create_project(f"project {next(numbers)}", config, sampling=sampling)
        client.serve_local_files(project.id, str(label_studio.files / "images"))
        tasks = [{"data": {"image": image_paths[number % IMAGE_COUNT], "number": number}} for number in range(images)]
        if tasks:
            client.import_tasks(project.id, tasks)
        return client.project(project.id)

    return make


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """Return a fresh project of 12 images with the classes "common" and "rare" and exemplar tags."""
    return make_project()


def label_config(classes: tuple[str, ...] = ("common", "rare"), *, exemplars: bool = True) -> str:
    """Return a labeling config as the README gives it."""
    choices = "".join(f'<Choice value="{name}"/>' for name in classes)
    config = (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="diagnosis" toName="image" choice="single">{choices}</Choices>\n</View>'
    )
    return with_exemplar_control(config) if exemplars else config


def skip_before(client: LabelStudioAdmin, release: str, why: str) -> None:
    """Skip a test of what Label Studio does from a release on only."""
    if is_before(client, release):
        pytest.skip(f"Label Studio {client.version()} {why}")


def is_before(client: LabelStudioAdmin, release: str) -> bool:
    """Tell whether Label Studio is older than a release, such as ``1.17``."""
    found, since = (tuple(map(int, text.split(".")[:2])) for text in (client.version(), release))
    return found < since


def sign_up(client: LabelStudioAdmin, email: str, password: str) -> str:
    """Sign a new user up by invitation and return its legacy token."""
    invitation = client.session.request("GET", "api/invite")["invite_url"]
    with httpx2.Client(base_url=client.url, follow_redirects=True, timeout=60.0) as browser:
        page = browser.get(invitation).raise_for_status().text
        secret = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert secret is not None
        form = {"csrfmiddlewaretoken": secret.group(1), "email": email, "password": password}
        browser.post(invitation, data=form, headers={"Referer": client.url}).raise_for_status()
        token: str = browser.get("/api/current-user/token").raise_for_status().json()["token"]
    return token
