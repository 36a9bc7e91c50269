"""What settings would change, told by processes beside the server: few at a time, and none is left behind."""

import sys

import pytest
from filelock import FileLock

from clinical_backend.jobs import settings_preview
from clinical_backend.jobs.settings_preview import PreviewBusyError, PreviewJobs, PreviewLateError, answer_question
from clinical_backend.settings import load_settings
from clinical_backend.workspace.preview_files import PreviewQuestion, load_answer, save_question
from tests.end_to_end.conftest import wait_until
from tests.jobs.processes_of_tests import is_running
from tests.rounds.coloured_cells import fake_client, project, studio
from tests.small_workspace import source, workspace
