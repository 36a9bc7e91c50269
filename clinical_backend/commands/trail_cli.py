"""The command ``clinical trail``: who did what, and whether nobody changed the record of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from clinical_backend.commands.shared import opened_workspace, read_settings
from clinical_backend.commands.terminal import say
from clinical_backend.errors import InvalidArgumentError

__all__ = ["trail"]


def trail(
    project: Annotated[int | None, typer.Option(help="Id of the project whose entries are listed.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the whole chain, of all projects.")] = False,
    expect: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="Last digest of an earlier check: refuse a chain without that entry."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List who did what at a project, the oldest first, or check that nobody changed the record of it (--verify)."""
    if verify is (project is not None) or (expect is not None and not verify):
        raise InvalidArgumentError(
            "--verify", "either a project's entries or a check are wanted.", "Give --project ID, or --verify."
        )
    if verify:
        _verify(expect, as_json=as_json)
    elif project is not None:
        _list(project, as_json=as_json)


def _list(project: int, *, as_json: bool) -> None:
    with opened_workspace(read_settings()) as workspace:
        for one in workspace.stores.trail.each(project):
            moment = datetime.fromtimestamp(one.at, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
            if as_json:
                print(json.dumps(asdict(one)))
            else:
                details = json.dumps(one.details, ensure_ascii=False) if one.details else ""
                print(f"{one.number:>6}  {moment}  {one.who:16}  {one.through:12}  {one.action:32}  {details}".rstrip())


def _verify(expect: str | None, *, as_json: bool) -> None:
    with opened_workspace(read_settings()) as workspace:
        found = workspace.stores.trail.verify(expect.strip().lower() if expect else None)
    if as_json:
        print(json.dumps({name: value for name, value in asdict(found).items() if name != "whole"}))
    else:
        mood = "ok" if found.broken is None else "error"
        say(str(found), mood=mood, leading=str(found).index(":" if mood == "ok" else "."))
        say(f"Last digest that holds: {found.digest}")
    if found.broken is not None:
        raise typer.Exit(1)
