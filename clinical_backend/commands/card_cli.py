"""The command that writes a project's model card."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from clinical_backend.commands.shared import Project, opened_workspace, read_settings
from clinical_backend.commands.terminal import progress_bar, say
from clinical_backend.errors import InvalidArgumentError, NotConnectedError
from clinical_backend.text import amount

__all__ = ["card"]

_LONGEST = 100_000
"""Characters of a file of the lead's words: more than anybody reads, and few enough for a page."""

Words = Annotated[Path | None, typer.Option(metavar="FILE", help="Text or Markdown, kept to the letter.")]


def card(
    project: Project,
    out: Annotated[Path, typer.Option(help="Folder that is made, with the card and its figures.")],
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Field of the tasks' data that makes subgroups, such as sex, age or site."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `clinical export-model` wrote: the card names its digest.")
    ] = None,
    intended_use: Words = None,
    limits: Words = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling that gives intervals.")] = 0,
) -> None:
    """Write the model card of a project: MODEL_CARD.md, model-card.html (prints on A4) and figures.json.

    How good the published model is, by class and subgroup, with intervals that respect patients and the sampling, and
    what too few cases carry is not said. Nothing of the tasks' data goes with it but what --field names.
    """
    from clinical_backend.handover.model_card import CardOptions, write_card

    fields = tuple(dict.fromkeys(field or ()))
    words = _words("--intended-use", intended_use), _words("--limits", limits)
    options = CardOptions(fields, *words, seed, _command(out, model, intended_use, limits))
    with opened_workspace(read_settings()) as workspace:
        if workspace.stores.projects.get(project) is None:
            raise NotConnectedError(
                f"Project {project} is not connected.", f"Run `clinical connect --project {project}`."
            )
        with progress_bar("Reading") as show:
            made = write_card(workspace.project(project), options, out, model=model, show=show)
    cases = made.facts.judged.cases
    say(f"Model card of {made.facts.version} in {out}: {amount(len(cases), 'judged case')}.", mood="ok")
    if cases.weights is None:
        missing = amount(made.facts.judged.missing_draws, "label")
        say(f"Its figures are of the labels alone: {missing} of random draws are missing for weights.", mood="warning")


def _words(option: str, file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidArgumentError(option, f"the file cannot be read ({why}).", "Name a file of text.") from None
    if not text.strip() or len(text) > _LONGEST:
        raise InvalidArgumentError(
            option, f"the file is empty, or of more than {_LONGEST:,} characters.", "Name a file with some paragraphs."
        )
    return text


def _command(*files: Path | None) -> str:
    """Return the command as the card repeats it: where files lie says nothing to others, and may name who made it."""
    said = sys.argv[1:]
    for file in filter(None, files):
        said = [one.replace(str(file), file.name) for one in said]
    return shlex.join(["clinical", *said])
