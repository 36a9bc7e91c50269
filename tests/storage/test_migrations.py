"""The tables, from the release that kept no version of them to now, on both databases."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from clinical_backend.errors import StorageError
from clinical_backend.origins import Draw, Origin
from clinical_backend.storage import database
from clinical_backend.storage.database import Database
from clinical_backend.storage.migrations import upgrade
from clinical_backend.storage.report import Counts, RoundReport
from clinical_backend.storage.schema import Base, RoundState
from clinical_backend.storage.stores.stores import Stores

# As SQLAlchemy made them for SQLite in the release before there were migrations.
UNVERSIONED = """
CREATE TABLE projects (
  id INTEGER NOT NULL, created VARCHAR, options JSON NOT NULL, label_config VARCHAR, published_version VARCHAR,
  request VARCHAR, requested_at DOUBLE, updates INTEGER NOT NULL, not_before DOUBLE NOT NULL,
  failures INTEGER NOT NULL, queue_left INTEGER NOT NULL, listed_at DOUBLE NOT NULL, address VARCHAR,
  wiring_due BOOLEAN NOT NULL, adaptation VARCHAR, problem VARCHAR, PRIMARY KEY (id));
CREATE TABLE features (
  backbone VARCHAR NOT NULL, digest VARCHAR NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (backbone, digest));
CREATE INDEX features_by_digest ON features (digest);
CREATE TABLE rounds (
  id INTEGER NOT NULL, project_id INTEGER NOT NULL, number INTEGER NOT NULL, version VARCHAR NOT NULL,
  request VARCHAR NOT NULL, state VARCHAR(9) NOT NULL, stage VARCHAR NOT NULL, done INTEGER NOT NULL,
  total INTEGER NOT NULL, started_at DOUBLE NOT NULL, finished_at DOUBLE, error VARCHAR, report JSON NOT NULL,
  PRIMARY KEY (id), UNIQUE (project_id, number),
  FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE);
CREATE TABLE task_images (
  project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, uri VARCHAR NOT NULL, digest VARCHAR, problem VARCHAR,
  attempts INTEGER NOT NULL, tried_at DOUBLE, PRIMARY KEY (project_id, task_id),
  FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE);
CREATE TABLE task_labels (
  project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, label VARCHAR, steer INTEGER NOT NULL,
  draw VARCHAR(7) NOT NULL, round_number INTEGER, labelled_at DOUBLE NOT NULL, PRIMARY KEY (project_id, task_id),
  FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE);
CREATE TABLE queued_tasks (
  round_id INTEGER NOT NULL, rank INTEGER NOT NULL, task_id INTEGER NOT NULL, draw VARCHAR(7) NOT NULL,
  predicted VARCHAR, rare_probability DOUBLE, nearest_exemplar INTEGER, similarity DOUBLE,
  PRIMARY KEY (round_id, rank), FOREIGN KEY(round_id) REFERENCES rounds (id) ON DELETE CASCADE);
CREATE INDEX ix_queued_tasks_task_id ON queued_tasks (task_id);
INSERT INTO projects VALUES (1, 'then', '{"queue_size": 7}', '<View/>', 'clinical-1-abc', NULL, NULL, 3, 0.0, 0, 5,
  1.5, 'http://backend', 0, NULL, NULL);
INSERT INTO rounds VALUES (1, 1, 1, 'clinical-1-abc', 'a reason', 'PUBLISHED', 'publish', 4, 4, 1.25, 2.5, NULL,
  '{"counts": {"queue": 1}}');
INSERT INTO queued_tasks VALUES (1, 0, 9, 'TARGET', 'rare', 0.5, NULL, 0.25);
INSERT INTO task_images VALUES (1, 9, '/data/upload/1/uri.jpg', 'digest', NULL, 0, NULL);
INSERT INTO task_labels VALUES (1, 8, 'rare', 1, 'AUDIT', NULL, 3.5);
INSERT INTO features VALUES ('net', 'digest', 0);
"""


@pytest.fixture(autouse=True)
def migrations(monkeypatch):
    monkeypatch.setattr(database, "upgrade", upgrade)


@pytest.fixture
def engine(url):
    made = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    yield made
    made.dispose()


def run(engine, statements):
    if engine.dialect.name == "postgresql":
        statements = statements.replace("DOUBLE", "DOUBLE PRECISION").replace("backend', 0,", "backend', false,")
    with engine.begin() as connection:
        for statement in filter(str.strip, statements.split(";\n")):
            connection.execute(text(statement.replace(":", "\\:")))


def test_the_migrated_tables_are_those_of_the_models(database, engine):
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert Base.metadata.tables.keys() | {"alembic_version"} == set(inspect(engine).get_table_names())


def test_every_draw_fits_the_columns_of_the_first_release():
    assert max(map(len, Draw.__members__)) <= 7


def test_a_database_of_the_last_release_keeps_its_rows(url, engine):
    run(engine, UNVERSIONED)
    for _ in range(2):
        database = Database(url)
        stores = Stores(database)
        project, published = stores.projects.get(1), stores.rounds.published(1)
        assert (project.options, project.updates, project.wiring_due) == ({"queue_size": 7}, 3, False)
        assert (published.state, published.report) == (RoundState.PUBLISHED, RoundReport(counts=Counts(queue=1)))
        (queued,) = stores.rounds.queue(published.id)
        assert (queued.task_id, queued.draw, queued.rare_probability, queued.probability) == (9, Draw.TARGET, 0.5, None)
        assert stores.images.all(1)[9].digest == "digest"
        assert stores.labels.all(1)[8].draw is Draw.AUDIT
        assert (queued.preannotated, stores.labels.all(1)[8].shown_prediction) == (None, "unknown")
        assert stores.trail.verify().entries == 0
        database.close()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert connection.scalar(text("SELECT count(*) FROM features")) == 1


LOST_DRAWS = """
INSERT INTO rounds VALUES (2, 1, 2, 'clinical-2-abc', 'a reason', 'PUBLISHED', 'publish', 4, 4, 10.0, 20.0, NULL, '{}');
INSERT INTO rounds VALUES (3, 1, 3, 'clinical-3-abc', 'a reason', 'FAILED', 'rank', 4, 4, 21.0, 22.0, 'so', '{}');
INSERT INTO rounds VALUES (4, 1, 4, 'clinical-4-abc', 'a reason', 'PUBLISHED', 'publish', 4, 4, 25.0, 30.0, NULL, '{}');
INSERT INTO queued_tasks (round_id, rank, task_id, draw) VALUES (2, 0, 20, 'AUDIT');
INSERT INTO queued_tasks (round_id, rank, task_id, draw) VALUES (2, 1, 21, 'AUDIT');
INSERT INTO queued_tasks (round_id, rank, task_id, draw) VALUES (3, 0, 22, 'AUDIT');
INSERT INTO queued_tasks (round_id, rank, task_id, draw) VALUES (4, 0, 21, 'TARGET');
INSERT INTO task_labels (project_id, task_id, label, steer, draw, labelled_at) VALUES (1, 9, 'a', 0, 'OTHER', 40.0);
INSERT INTO task_labels (project_id, task_id, label, steer, draw, labelled_at) VALUES (1, 20, 'a', 0, 'OTHER', 40.0);
INSERT INTO task_labels (project_id, task_id, label, steer, draw, labelled_at) VALUES (1, 21, 'a', 0, 'OTHER', 26.0);
INSERT INTO task_labels (project_id, task_id, label, steer, draw, labelled_at) VALUES (1, 22, 'a', 0, 'OTHER', 24.0);
INSERT INTO task_labels (project_id, task_id, label, steer, draw, labelled_at) VALUES (1, 23, 'a', 0, 'OTHER', 1.0);
"""


def test_draws_that_were_lost_while_a_round_ran_are_found_again(url, engine):
    run(engine, UNVERSIONED)
    run(engine, LOST_DRAWS)
    database = Database(url)
    labels = Stores(database).labels.all(1)
    database.close()
    assert labels.pop(8).origin is Origin.QUEUE
    assert {task: (row.origin, row.draw, row.round_number) for task, row in labels.items()} == {
        9: (Origin.PAST_QUEUE, None, 4),  # only the queue of long ago held it
        20: (Origin.QUEUE, Draw.AUDIT, 2),
        21: (Origin.QUEUE, Draw.AUDIT, 2),
        22: (Origin.PAST_QUEUE, None, 2),  # that queue was never served
        23: (Origin.PAST_QUEUE, None, None),
    }


MISREAD = [
    "/data/a.TIF",
    "https://pacs/instances/7",
    "/data/b.png?c=d.jpg",
    "/data/local-files/?d=e.tiff",
    "http://[",
    "data:image/png;base64,AA",
]
RIGHT = [
    "s3://bucket/a.JPG",
    "https://host/b.jpeg?key=c.tif",
    "/data/local-files/?d=c/d.jpg",
    "data:image/jpeg;base64,AA",
]


def test_only_images_that_may_have_been_misread_are_embedded_anew(url, engine):
    run(engine, UNVERSIONED)
    with engine.begin() as connection:
        for task, uri in enumerate([*MISREAD, *RIGHT], 100):
            row = {"task": task, "uri": uri, "digest": uri}
            connection.execute(text("INSERT INTO task_images VALUES (1, :task, :uri, :digest, NULL, 0, NULL)"), row)
            for net in ("net", "thumbnails"):
                connection.execute(text("INSERT INTO features VALUES (:net, :digest, 3)"), {"net": net, "digest": uri})
        connection.execute(text("INSERT INTO task_images VALUES (1, 200, 'c.tif', NULL, 'not an image', 9, 5.0)"))
    database = Database(url)
    images = Stores(database).images.all(1)
    database.close()
    with engine.connect() as connection:
        kept = set(connection.execute(text("SELECT backbone, digest FROM features WHERE digest <> 'digest'")))
    assert kept == {(net, uri) for net in ("net", "thumbnails") for uri in RIGHT}
    assert all(images[task].digest is not None for task in range(100, 110))
    assert (images[200].attempts, images[200].tried_at) == (0, None)  # what was refused is tried at once


def test_a_database_from_before_the_first_release_is_refused_as_it_is(url, engine):
    run(engine, UNVERSIONED)
    run(engine, "ALTER TABLE projects DROP COLUMN adaptation")
    with pytest.raises(StorageError, match=r"before the first release\. Move clinical\.sqlite3"):
        Database(url)
    assert "alembic_version" not in inspect(engine).get_table_names()


def test_a_database_of_a_newer_version_is_refused_as_it_is(url, engine):
    Database(url).close()
    run(engine, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match=r"newer version of the backend\. Install that version"):
        Database(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_an_upgrade_that_fails_changes_nothing(url, engine):
    run(engine, UNVERSIONED)
    run(engine, "ALTER TABLE queued_tasks ADD COLUMN probability INTEGER")  # in the way of the second script
    with pytest.raises(Exception, match="probability"):
        Database(url)
    assert "alembic_version" not in inspect(engine).get_table_names()
