"""Commands about a model that works elsewhere: one file, and what it says of the images of a folder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clinical_backend.commands.shared import Project, opened_workspace, read_settings
from clinical_backend.commands.terminal import complain, say
from clinical_backend.text import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from clinical_backend.handover.folder_predictions import ImagePrediction

__all__ = ["export_model", "predict"]

_SHOWN = 1e6  # bytes of a megabyte


def export_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the model is written, such as model.onnx.")],
    project: Project,
) -> None:
    """Write the published model of a project into one file: ONNX, from decoded pixels to probabilities.

    Nothing but that file is needed to predict with it, by `clinical predict` or by ONNX Runtime.
    """
    from clinical_backend.handover.model_export import export_model as write

    with opened_workspace(read_settings()) as workspace:
        done = write(workspace.project(project), file)
    about = done.description
    say(
        f"{file}: {done.size / _SHOWN:.0f} MB, {amount(len(about['classes']), 'class')}.",
        mood="ok",
        leading=len(str(file)),
    )
    say(f"It is {about['model_version']}; what it says differs from the backend's by {done.difference:.0e} at most.")
    say(f"sha256 {done.sha256}", leading=len("sha256"))
    say(f"Its model card: clinical card --project {project} --out FOLDER --model {shlex.quote(str(file))}")


def predict(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model that `clinical export-model` wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the images are.")],
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="How predictions are written.")] = "csv",
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="DIGEST", help="Take no other file: what the export printed.")
    ] = None,
) -> None:
    """Print how likely each class is for each image of a folder, by nothing but a model's file.

    Each page of a TIFF stack, and each frame of a DICOM file, is an image. What cannot be read is listed with why.
    """
    from clinical_backend.handover.folder_predictions import predict_folder, write_predictions
    from clinical_backend.learner.portable.portable_model import PortableModel

    model = PortableModel.read(file, sha256)
    counts = {"read": 0, "left": 0}

    def counted(predictions: Iterable[ImagePrediction]) -> Iterator[ImagePrediction]:
        for one in predictions:
            counts["left" if one.problem else "read"] += 1
            yield one

    for text in write_predictions(model, counted(predict_folder(model, folder)), form):
        sys.stdout.write(text)
    if counts["left"]:
        complain(f"{amount(counts['left'], 'image')} could not be read; the column or field problem says why.")
    if not counts["read"]:
        complain("No image was read. Name a folder with images.")
        raise typer.Exit(1)
