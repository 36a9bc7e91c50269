"""Command that lists networks to make features with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clinical_backend.commands.terminal import say

if TYPE_CHECKING:
    from clinical_backend.learner.backbones.presets import Preset

__all__ = ["backbones"]


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
    say("Set BACKBONE to a name. Its weights are downloaded once, at the next start, and images are embedded anew.")
    say("FOLDER is the path of a folder with the converted file. All but the default were tried in their form, with")
    say("random weights, and not with their own. Sources and published figures: docs/backbones.md.")


def _show(preset: Preset) -> None:
    size = f"{preset.parameters:g} M parameters, {preset.dimension} values, {preset.image_size} px"
    file = f"{preset.megabytes} MB to download" if preset.megabytes else "no download"
    access = f"{preset.licence}, gated" if preset.gated else preset.licence
    needs = f"; needs: {preset.needs}" if preset.needs else ""
    say(f"  {preset.backbone}", leading=2 + len(preset.backbone), mood="ok")
    say(f"    {size}; {file}; {access}{needs}")
    say(f"    {preset.note}")
