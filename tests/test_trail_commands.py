"""The command ``clinical trail``, over a database that is filled by hand."""

import json
import sqlite3

import pytest
from typer.testing import CliRunner

from clinical_backend import cli
from clinical_backend.storage.trail import Actor, TrailAction, acting
from tests.test_exemplar_commands import environment, stores

__all__ = ["environment", "stores"]  # fixtures


def run(*arguments):
    return CliRunner().invoke(cli.app, ["trail", *arguments])


@pytest.fixture
def told(stores):
    with acting(Actor("eve", "page")):
        stores.trail.append(TrailAction.SETTING_CHANGED, 1, setting="queue_size", old=None, new=7, where="page")
    return stores


def tamper(stores, statement):
    with sqlite3.connect(stores.database._url.database) as connection:
        for trigger in ("trail_keeps_rows", "trail_keeps_values"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement)
    connection.close()


def test_what_was_done_at_a_project_is_listed_in_lines_and_for_machines(told):
    first, second = run("--project", "1").output.splitlines()
    assert "the backend" in first
    assert "connected" in first
    assert all(part in second for part in ("eve", "page", "setting changed", '"queue_size"', '"new": 7'))
    rows = [json.loads(line) for line in run("--project", "1", "--json").output.splitlines()]
    assert [(row["number"], row["who"], row["project_id"]) for row in rows] == [(1, "the backend", 1), (3, "eve", 1)]
    assert run("--project", "9").output == ""


def test_a_whole_chain_is_said_with_its_last_digest_which_a_later_check_can_expect(told):
    said = run("--verify")
    assert said.exit_code == 0
    assert "The trail holds: 3 entries." in said.output
    digest = told.trail.verify().digest
    assert f"Last digest that holds: {digest}" in said.output
    told.trail.append(TrailAction.MODEL_EXPORTED, 1)
    assert run("--verify", "--expect", digest.upper()).exit_code == 0
    refused = run("--verify", "--expect", "0" * 63 + "1")
    assert refused.exit_code == 1
    assert "were cut off, or the chain was made anew" in refused.output


def test_a_broken_chain_ends_with_code_1_and_names_the_first_broken_entry(told):
    tamper(told, "UPDATE trail SET who = 'nobody' WHERE number = 2")
    said = run("--verify")
    assert said.exit_code == 1
    assert "The trail is broken at entry 2. Entry 2 was changed." in said.output
    machine = run("--verify", "--json")
    assert machine.exit_code == 1
    assert json.loads(machine.output)["broken"] == 2


@pytest.mark.parametrize(
    "arguments", [(), ("--project", "1", "--verify"), ("--project", "1", "--expect", "1" * 64), ("--expect", "1")]
)
def test_it_is_either_a_list_or_a_check(told, arguments):
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "either a project's entries or a check" in str(refused.exception)
