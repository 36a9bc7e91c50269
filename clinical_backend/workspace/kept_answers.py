"""What a round read back last, as it was before tags of pages: so what settings would change can be told without it.

The database keeps what pages show of it. An order depends on more, such as who skipped what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from clinical_backend.errors import ModelError
from clinical_backend.labelstudio.labeling.project_labels import Labels
from clinical_backend.labelstudio.resources import Project
from clinical_backend.learner.artifact import ArtifactKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["KeptAnswers", "forget_answers", "load_answers", "save_answers"]

_KIND = ArtifactKind("answers", "copy of the answers", "The next round keeps them anew.")


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """A project as it was read back.

    Attributes
    ----------
    project
        As Label Studio had it.
    labels
        What readers said. Numbers that are drawn anew each time stand for readers, which tell them apart alone.
    read_by
        The settings by which answers were read, as JSON has them.
    """

    project: Project
    labels: Labels
    read_by: Mapping[str, Any]


def save_answers(folder: Path, answers: KeptAnswers) -> None:
    """Write what was read back, in place of what was before.

    Raises
    ------
    ModelError
        When the folder cannot be written.
    """
    told, content = answers.project.model_dump(mode="json"), _adapter().dump_json(_anonymous(answers.labels))
    _KIND.save(folder, {"project": told, "read_by": dict(answers.read_by)}, {"answers": content})


def forget_answers(folder: Path) -> None:
    """Remove what was read back before, where what is read now cannot be kept: it must not pass for that."""
    _KIND.forget(folder)


def load_answers(folder: Path) -> KeptAnswers | None:
    """Return what was read back last; ``None`` where no round kept it, or it was changed on disk."""
    if not _KIND.is_in(folder):
        return None
    try:
        with _KIND.opened(folder) as artifact:
            project = Project.model_validate(artifact.description["project"])
            read_by = dict(artifact.description["read_by"])
            return KeptAnswers(project, _adapter().validate_json(artifact.read("answers")), read_by)
    except ModelError:
        return None


def _anonymous(labels: Labels) -> Labels:
    """Return labels without who gave them: SHOW_READERS may say that nobody is to be known."""
    seen = {reader for answered in labels.first_answers.values() for reader in answered.seen_by}
    readers = sorted(seen | labels.last_answers.keys())
    code = dict(zip(readers, SystemRandom().sample(range(len(readers)), len(readers)), strict=True))
    return replace(
        labels,
        first_answers={
            task: replace(answered, seen_by=frozenset(code[reader] for reader in answered.seen_by))
            for task, answered in labels.first_answers.items()
        },
        last_answers={code[reader]: at for reader, at in labels.last_answers.items()},
        read_twice={task: tuple((0, name) for _, name in said) for task, said in labels.read_twice.items()},
        disputed={task: tuple((None, name) for _, name in said) for task, said in labels.disputed.items()},
        tagged={},
        by_reader=(),
        names=None,
    )


@cache
def _adapter() -> TypeAdapter[Labels]:
    return TypeAdapter(Labels)
