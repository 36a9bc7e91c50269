"""Command that lists networks to make features with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clinical_backend.commands.shared import Project, opened_workspace, read_settings
from clinical_backend.commands.terminal import say

if TYPE_CHECKING:
    from clinical_backend.learner.backbones.presets import Preset

__all__ = ["backbones", "try_backbone"]


def backbones(
    modality: Annotated[
        str | None, typer.Argument(help="What the images are: xray, ct, skin, fundus or histology; all without it.")
    ] = None,
) -> None:
    """List backbones by what the images are, with size, licence and what each needs. Nothing is downloaded."""
    from clinical_backend.errors import InvalidArgumentError
    from clinical_backend.learner.backbones.presets import MODALITIES, PRESETS

    if modality is not None and modality not in MODALITIES:
        raise InvalidArgumentError("MODALITY", f"{modality!r} is not known.", f"Use one of {', '.join(MODALITIES)}.")
    for name in MODALITIES if modality is None else [modality]:
        say(f"{name}: {MODALITIES[name]}", leading=len(name))
        for preset in PRESETS:
            if name in preset.modalities:
                _show(preset)
    say("Set BACKBONE to a name. Its weights are downloaded once, at the next start, and images are embedded anew,")
    say("while each project goes on with the one before until the labels have compared the two.")
    say("FOLDER is the path of a folder with the converted file. All but the default were tried in their form, with")
    say("random weights, and not with their own. Sources and published figures: docs/backbones.md.")


def try_backbone(
    backbone: Annotated[str, typer.Argument(help="As BACKBONE would name it.")],
    project: Project,
    image_size: Annotated[
        int | None, typer.Option(help="As IMAGE_SIZE; by default what it was trained with.", min=32, max=1024)
    ] = None,
) -> None:
    """Embed a project's images with another backbone and compare it on the labels; rounds go on as they are."""
    from rich.progress import Progress

    from clinical_backend.training.backbone_trial import try_backbone as run

    with opened_workspace(read_settings()) as workspace:
        with Progress() as bar:
            task = bar.add_task("Embedding")
            found = run(
                workspace.project(project),
                backbone,
                image_size=image_size,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        say(found)
    say("Its features are kept: once BACKBONE (and IMAGE_SIZE) name it, it is soon compared again and serves.")


def _show(preset: Preset) -> None:
    size = f"{preset.parameters:g} M parameters, {preset.dimension} values, {preset.image_size} px"
    file = f"{preset.megabytes} MB to download" if preset.megabytes else "no download"
    access = f"{preset.licence}, gated" if preset.gated else preset.licence
    needs = f"; needs: {preset.needs}" if preset.needs else ""
    say(f"  {preset.backbone}", leading=2 + len(preset.backbone), mood="ok")
    say(f"    {size}; {file}; {access}{needs}")
    say(f"    {preset.note}")
