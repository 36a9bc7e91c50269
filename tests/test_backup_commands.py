"""The commands of docs/deploy.md that copy and restore both databases and all files, run as they stand there.

A stand-in takes the place of `docker compose`, and runs what it is given with the paths and servers of this machine.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine

from clinical_backend.lab.servers.postgresql_server import PASSWORD, PostgreSQLServer
from clinical_backend.settings import load_settings
from clinical_backend.storage.feature_files import FeatureStore
from clinical_backend.storage.opening import open_database
from clinical_backend.storage.stores.stores import Stores

DOCUMENT = (Path(__file__).parent.parent / "docs" / "deploy.md").read_text()
COMPOSE = """
import os, sys
words = sys.argv[2:]
if words[0] in ("stop", "up"):
    sys.exit()
assert words.pop(0) in ("exec", "run")
entrypoint = []
while words[0].startswith("-"):
    if words.pop(0) == "--entrypoint":
        entrypoint = [words.pop(0)]
service, command = words[0], entrypoint + words[1:]
data = {"backend": os.environ["MODEL_DIR"], "label-studio": os.environ["LABEL_STUDIO"], "postgres": "none"}[service]
places = {"/data": data, "/label-studio": os.environ["LABEL_STUDIO"], "/label-studio/data": data}
command = [places.get(word, word).replace("--username=postgres", "--username=clinical") for word in command]
if command[0] == "clinical":
    command[:1] = [sys.executable, "-m", "clinical_backend"]
os.execvp(command[0], command)
"""


def commands(name):
    (block,) = re.findall(rf"^<!-- {name}:[^\n]*\n```sh\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    return block


@pytest.fixture
def postgresql():
    """Return a PostgreSQL of its own, since its databases have the names that they have in the compose file."""
    with PostgreSQLServer() as server:
        for name in ("clinical", "labelstudio"):
            server.execute(f"CREATE DATABASE {name}")
        yield server


@pytest.fixture
def execute(postgresql):
    """Return a function that runs a statement in Label Studio's database."""

    def do(statement):
        engine = create_engine(postgresql.url("labelstudio").replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            found = connection.exec_driver_sql(statement)
            rows = found.all() if found.returns_rows else []
        engine.dispose()
        return rows

    return do


@pytest.fixture
def run(postgresql, tmp_path):
    """Return a function that runs a block of commands of the document."""
    stand_in = tmp_path / "bin" / "docker"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!{sys.executable}\n{COMPOSE}")
    stand_in.chmod(0o755)
    port = re.search(r":(\d+)/", postgresql.url("clinical"))[1]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(stand_in.parent), str(postgresql._binaries), os.environ["PATH"]]),
        "PGHOST": "127.0.0.1",
        "PGPORT": port,
        "PGPASSWORD": PASSWORD,
        "MODEL_DIR": str(tmp_path / "model"),
        "LABEL_STUDIO": str(tmp_path / "media"),
        "DATABASE_URL": postgresql.url("clinical"),
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }

    def do(name):
        subprocess.run(["sh", "-ec", commands(name)], cwd=tmp_path, env=environment, check=True)

    return do


def test_both_databases_and_all_files_come_back(run, postgresql, execute, tmp_path):
    settings = load_settings(model_dir=tmp_path / "model", database_url=postgresql.url("clinical"))
    media = tmp_path / "media" / "media" / "upload" / "1" / "image.png"
    media.parent.mkdir(parents=True)
    media.write_bytes(b"image")
    execute("CREATE TABLE annotation AS SELECT 'rare' AS name")
    database = open_database(settings)
    Stores(database).projects.register(7)
    features = FeatureStore(database, settings.model_dir / "features", backbone="b", dimension=2)
    features.add(["a"], np.ones((1, 2), np.float32))
    run("backup")  # while the database is open
    Stores(database).projects.register(8)
    features.add(["later"], np.zeros((1, 2), np.float32))
    database.close()
    execute("DROP TABLE annotation")
    media.unlink()
    (settings.model_dir / "database-id").write_text("damaged")

    run("restore")

    assert execute("SELECT name FROM annotation") == [("rare",)]
    assert media.read_bytes() == b"image"
    database = open_database(settings)
    assert list(Stores(database).projects.ids()) == [7]
    features = FeatureStore(database, settings.model_dir / "features", backbone="b", dimension=2)
    assert features.read(list(features.positions(["a", "later"]).values())).tolist() == [[1.0, 1.0]]
    database.close()
