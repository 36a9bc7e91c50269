"""Processes in the background, real ones: whatever fails in them, they end by an exit status and say why in a line."""

import os
import subprocess
import sys

import pytest

from clinical_backend.jobs import training_jobs
from clinical_backend.jobs.child_process import lines_of
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.workspace import Workspace


def started(folder, *command, **options):
    """Start a command as a server does: its standard input stays open."""
    environment = {**os.environ, "MODEL_DIR": str(folder), "LABEL_STUDIO_API_KEY": "k", "ADAPTATION": "off"}
    return subprocess.Popen(
        [sys.executable, "-m", "clinical_backend", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
        **options,
    )


@pytest.mark.slow
def test_what_fails_while_the_input_is_waited_for_ends_without_a_fatal_error(tmp_path):
    Database.in_folder(tmp_path / "whole").close()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "clinical.sqlite3").write_bytes(b"no database" * 100)
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "adapted").write_text("a file where a folder should be")
    commands = {
        "too few": ("whole", "adapt", "--project", "1", "--background"),
        "asks for no fine-tuning": ("whole", "finetune", "--project", "1", "--background"),
        "cannot be written": ("occupied", "adapt", "--project", "1", "--background"),
        "file is not a database": ("broken", "worker", "--embedded"),
    }
    running = {
        said: started(tmp_path / folder, *command, stderr=subprocess.PIPE)
        for said, (folder, *command) in commands.items()
    }
    for said, process in running.items():
        told = process.stderr.read().decode()
        assert process.wait(250) == 1, told
        assert said in told
        assert "Fatal" not in told
        assert "Traceback" not in told
        process.stdin.close()
        process.stderr.close()


def test_one_whose_log_nobody_reads_any_more_ends_by_its_status(tmp_path):
    reader, writer = os.pipe()
    process = started(tmp_path, "adapt", "--project", "1", "--background", stderr=writer)
    os.close(writer)
    os.close(reader)
    assert process.wait(250) == 1
    process.stdin.close()


def test_lines_come_as_they_are_written_until_the_other_end_is_closed():
    reader, writer = os.pipe()
    os.write(writer, b"3\n4")
    lines = lines_of(reader)
    assert next(lines) == "3"
    os.write(writer, b"5\n\xff\n6")
    assert next(lines) == "45"
    os.close(writer)
    assert list(lines) == ["\N{REPLACEMENT CHARACTER}"]
    os.close(reader)


@pytest.mark.parametrize("status", [-9, -15, 3])
def test_a_training_that_was_killed_is_noted_with_what_killed_it(tmp_path, caplog, status):
    database = Database.in_folder(tmp_path)
    workspace = Workspace(load_settings(model_dir=tmp_path, label_studio_api_key="k"), database)
    workspace.stores.projects.register(1)
    for kind in training_jobs._KINDS:
        training_jobs.TrainingJobs(workspace)._tell(kind, 1, status)
        assert f"`{kind.command}`" in caplog.text
    noted = workspace.stores.projects.get(1).adaptation
    expected = {-9: "was killed (SIGKILL, as the system does where memory", -15: "was killed (SIGTERM)", 3: ""}[status]
    assert expected in (noted or "")
    assert (noted is None) == (status > 0)
    database.close()
