"""Where a project stands, as page, command and API tell it."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import ClinicalError
from clinical_backend.jobs.stall import stalls
from clinical_backend.rounds.drift import Drift, rests
from clinical_backend.rounds.due import is_running_low
from clinical_backend.rounds.questions import open_questions
from clinical_backend.service.findings import read_findings
from clinical_backend.service.second_readings import report_second_look
from clinical_backend.service.set_aside import read_set_aside
from clinical_backend.storage.report import RoundReport
from clinical_backend.storage.schema import RoundState
from clinical_backend.training.backbone_replacement import replacement_state
from clinical_backend.training.finetuning import finetuning_state
from clinical_backend.workspace.controls import learnt_of
from clinical_backend.workspace.notices import notices
from clinical_backend.workspace.project_options import named_classes

if TYPE_CHECKING:
    from clinical_backend.labelstudio.connection.checks import CheckResult
    from clinical_backend.service.findings import Findings
    from clinical_backend.service.set_aside import SetAside
    from clinical_backend.storage.report import Question
    from clinical_backend.storage.schema import Project, Round
    from clinical_backend.storage.stores.troubles import TroubleKind
    from clinical_backend.workspace.workspace import ProjectWorkspace

__all__ = ["ProjectStatus", "read_status"]


def read_status(project: ProjectWorkspace) -> ProjectStatus | None:
    """Return where a project stands; ``None`` for an unknown one."""
    row = project.row
    return None if row is None else ProjectStatus(project, row)


class ProjectStatus:
    """Where a project stands, without asking Label Studio. What is costly is read when it is first asked for.

    Parameters
    ----------
    workspace
        The project's, with the state.
    project
        The project, as it stands now.
    """

    def __init__(self, workspace: ProjectWorkspace, project: Project) -> None:
        self._workspace, self._stores = workspace, workspace.stores
        self.project = project

    @cached_property
    def latest(self) -> Round | None:
        """The newest round."""
        return self._stores.rounds.latest(self.project.id)

    @cached_property
    def published(self) -> Round | None:
        """The round whose queue readers get."""
        return self._stores.rounds.published(self.project.id)

    @property
    def report(self) -> RoundReport:
        """The report of that round; an empty one without it."""
        return RoundReport() if self.published is None else self.published.report

    @property
    def running(self) -> Round | None:
        """The round that runs."""
        return self.latest if self.latest is not None and self.latest.state is RoundState.RUNNING else None

    @cached_property
    def stalled(self) -> str | None:
        """What stands still, with the cure."""
        return stalls(self._stores.database, self._workspace.workspace.settings).get(self.project.id)

    @cached_property
    def drift(self) -> Drift:
        """What was changed in Label Studio."""
        return Drift.of(self.project)

    @property
    def resting(self) -> str | None:
        """Why no round is run, though one may be due."""
        return rests(self.project)

    @property
    def labels_until_round(self) -> int | None:
        """After how many more labels a round is due; ``None`` where one is, or the settings cannot be read."""
        try:
            every = self._workspace.settings.start_training_each_n_updates
        except ClinicalError:  # the project's problem says so
            return None
        return None if self.project.request is not None else max(1, every - self.project.updates)

    @property
    def is_queue_low(self) -> bool:
        """Whether readers are near the end of the queue."""
        return self.published is not None and is_running_low(self.project.queue_left, self.report.counts.queue)

    @property
    def looked_for(self) -> tuple[str, ...]:
        """Classes that are looked for by name."""
        return tuple(named_classes(self._workspace.workspace.settings, self.project))

    @property
    def page(self) -> str:
        """Address of the project's page."""
        return self._workspace.page

    @cached_property
    def found(self) -> Findings:
        """What was found so far."""
        return read_findings(self._workspace)

    @cached_property
    def exemplars(self) -> int:
        """How many tasks are tagged as exemplars."""
        return sum(entry.steer > 0 for entry in self._stores.labels.all(self.project.id).values())

    @cached_property
    def questions(self) -> list[Question]:
        """What the lead is asked."""
        return open_questions(self._workspace)

    @cached_property
    def troubles(self) -> dict[TroubleKind, int]:
        """How many tasks something is wrong with."""
        return self._stores.troubles.counts(self.project.id)

    @cached_property
    def notices(self) -> list[CheckResult]:
        """What a person should know."""
        return notices(self._workspace)

    @cached_property
    def test_set(self) -> SetAside | None:
        """Where the test set stands."""
        return read_set_aside(self._workspace)

    @property
    def finetuning(self) -> str | None:
        """Where fine-tuning stands."""
        try:
            return finetuning_state(self._workspace)
        except ClinicalError as error:
            return str(error)

    @property
    def backbone(self) -> str | None:
        """How it stands with the backbone, where it was changed."""
        return replacement_state(self._workspace)

    def to_json(self) -> dict[str, Any]:
        """Return all that is known, for machines."""
        project = self.project
        return {
            "project": project.id,
            "published_version": project.published_version,
            "queue_left": project.queue_left,
            "queue_low": self.is_queue_low,
            "round_due": project.request,
            "adaptation": project.adaptation,
            "finetuning": self.finetuning,
            "backbone": self.backbone,
            "problem": project.problem or self.stalled,
            "learnt": learnt_of(self._workspace),
            "standing_back": project.standing_back,
            "rests": self.resting,
            "repairs": [{"at": at, "detail": detail} for at, detail in self.drift.told],
            "looked_for": list(self.looked_for),
            "not_looked_for": project.declined,
            "questions": [question.to_json() for question in self.questions],
            "troubles": {kind.value: count for kind, count in self.troubles.items()},
            "notices": [str(notice) for notice in self.notices],
            "labels": sum(row.label is not None for row in self._stores.labels.all(project.id).values()),
            "exemplars": self.exemplars,
            "second_look": report_second_look(self._workspace),
            "test_set": None if self.test_set is None else asdict(self.test_set),
            "round": None if self.latest is None else _round(self.latest),
        }


def _round(row: Round) -> dict[str, Any]:
    """Return a round with its report; what it asked to be read again stays between it and its readers."""
    report = row.report.to_json()
    report.pop("second_look", None)
    return {
        "number": row.number,
        "version": row.version,
        "state": row.state.value,
        "stage": row.stage,
        "done": row.done,
        "total": row.total,
        "because": row.request,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "error": row.error,
        **report,
    }
