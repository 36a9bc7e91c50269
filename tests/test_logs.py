import json
import logging
import sys
import threading

import pytest

from clinical_backend.logs import SeldomLogger, configure_logs, log_context
from clinical_backend.settings import load_settings


@pytest.fixture
def configure():
    """Configure logs as in a process that logs to nowhere yet, and leave logging as it was."""
    root, package = logging.getLogger(), logging.getLogger("clinical_backend")
    levels = root.level, package.level
    hooks = sys.excepthook, threading.excepthook

    def configure_afresh(settings):
        root.handlers.clear()
        configure_logs(settings)

    yield configure_afresh
    root.handlers.clear()
    root.setLevel(levels[0])
    package.setLevel(levels[1])
    sys.excepthook, threading.excepthook = hooks


def test_json_lines_carry_the_ids_of_project_and_round(configure, capsys):
    configure(load_settings(log_format="json"))
    logger = logging.getLogger("clinical_backend.test")
    with log_context(project=7):
        with log_context(round=3):
            logger.info("in a round of %s", "7")
        logger.info("after it")
    logger.info("elsewhere")
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(record["message"], record.get("project"), record.get("round")) for record in records] == [
        ("in a round of 7", 7, 3),
        ("after it", 7, None),
        ("elsewhere", None, None),
    ]
    assert {"level", "logger", "timestamp"} <= records[0].keys()


def test_text_lines_are_for_people(configure, capsys):
    configure(load_settings(log_level="WARNING"))
    logger = logging.getLogger("clinical_backend.test")
    logger.info("too quiet")
    logger.warning("heard")
    said = capsys.readouterr().err
    assert said.endswith("WARNING clinical_backend.test: heard\n")
    assert "too quiet" not in said


def fail_on(name):
    try:
        {}[name]
    except KeyError as error:
        raise ValueError(f"{name} is not known") from error


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_fault_is_logged_by_its_kind_and_place_without_what_it_was_about(configure, capsys, log_format):
    configure(load_settings(log_format=log_format))
    try:
        fail_on("Jane Doe")
    except ValueError:
        logging.getLogger("clinical_backend.test").exception("A round failed")
    said = capsys.readouterr().err
    assert "ValueError at" in said
    assert "after KeyError at" in said
    assert "in fail_on" in said
    assert "Jane" not in said
    assert "Traceback" not in said


def test_a_fault_that_ends_a_thread_is_logged_like_any_other(configure, capsys):
    configure(load_settings(log_format="json"))
    thread = threading.Thread(target=fail_on, args=("Jane Doe",))
    thread.start()
    thread.join()
    record = json.loads(capsys.readouterr().err)
    assert record["level"] == "CRITICAL"
    assert "in fail_on" in record["exc_info"]
    assert "Jane" not in str(record)


def test_what_any_caller_brings_about_is_warned_of_once_a_minute(caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("clinical_backend.logs.time.monotonic", lambda: now[0])
    seldom = SeldomLogger("clinical_backend.test")
    for number in range(300):
        seldom.warning("Project %d is unknown", number)
    seldom.warning("another thing")
    assert [record.getMessage() for record in caplog.records] == ["Project 0 is unknown", "another thing"]
    now[0] += 61
    seldom.warning("Project %d is unknown", 7)
    assert caplog.records[-1].getMessage() == "Project 7 is unknown"
