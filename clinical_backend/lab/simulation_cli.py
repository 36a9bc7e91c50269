"""The commands that simulate readers: the demonstration on Label Studio, and comparisons on labelled sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clinical_backend.settings import load_settings

__all__ = ["demo", "simulate"]


def demo(
    seed: Annotated[int, typer.Option(help="Which images and which reader.")] = 0,
    labels: Annotated[int, typer.Option(help="How many tasks the simulated reader annotates.", min=10)] = 60,
    repeats: Annotated[int, typer.Option(help="How many projects it reads, each with the next seed.", min=1)] = 1,
) -> None:
    """Show the loop: a real Label Studio, a project with a rare class, a simulated reader."""
    from clinical_backend.lab.demo.run import run_demo

    run_demo(seed=seed, labels=labels, repeats=repeats)


def simulate(
    sets: Annotated[
        list[str],
        typer.Argument(
            help="Settings of the report by name (blood, chest, skin, breast, bags, mosaic, trust, or a variant such "
            "as skin-mel), or labelled sets: a folder per class, zip, CSV or npz."
        ),
    ],
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help="What to compare; every one if none is given. auto is the live round, auto@classifier the same with "
            "GOAL=classifier, auto@words the same with words for what is rare (only if it is named: BACKBONE needs an "
            "image and a text tower), NAME@features a function on features, NAME@distil on gradients, NAME@learned on "
            "the similarity that the live round's detector learns."
        ),
    ] = None,
    learner: Annotated[
        list[str] | None,
        typer.Option(
            help="Which features: frozen (default), adapted, joined, live, finetuned or resnet18; of tasks with "
            "several images frozen, live, mean, named, pooled or witness."
        ),
    ] = None,
    rare: Annotated[list[str] | None, typer.Option(help="Rare classes; by default the smallest class.")] = None,
    share: Annotated[float | None, typer.Option(help="Share of the pool that the rare classes have together.")] = None,
    exemplars: Annotated[int | None, typer.Option(help="Exemplars of each rare class at the start.")] = None,
    initial: Annotated[int | None, typer.Option(help="Random labels at the start.")] = None,
    pool: Annotated[int | None, typer.Option(help="Images in the pool.")] = None,
    labels: Annotated[int | None, typer.Option(help="Labels that the simulated reader gives.")] = None,
    batch: Annotated[int | None, typer.Option(help="Labels between two rounds.")] = None,
    audit_share: Annotated[float | None, typer.Option(help="Share of the queue drawn at random.")] = None,
    label_noise: Annotated[
        float | None, typer.Option(help="Share of the labels that are of another class.", min=0.0, max=1.0)
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            help='Words of auto@words: JSON such as {"NAME": {"phrasings": ["…"], "contrasts": ["…"]}}; by default '
            "those that are suggested."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How often, each with another draw.", min=1)] = 5,
    folder: Annotated[Path, typer.Option(help="Where results go; what is there is not run again.")] = Path(
        "simulation"
    ),
    workers: Annotated[int, typer.Option(help="Runs at the same time; one per core if 0.", min=0)] = 0,
) -> None:
    """Simulate readers on labelled sets: rare cases found, and the classifier, against labels."""
    from clinical_backend.lab.experiments.phrasings import read_phrasings
    from clinical_backend.lab.experiments.protocol import protocols_of
    from clinical_backend.lab.experiments.simulate import Plan, run_simulation
    from clinical_backend.lab.experiments.strategies import BY_WORDS, STRATEGIES
    from clinical_backend.learner.backbones.base import available_cpus

    changes = {
        "rare_classes": tuple(rare) if rare else None,
        "rare_share": share,
        "exemplars": exemplars,
        "initial": initial,
        "pool": pool,
        "labels": labels,
        "batch": batch,
        "audit_share": audit_share,
        "label_noise": label_noise,
    }
    settings, cache = load_settings(), Path(".cache") / "experiments"
    run_simulation(
        Plan(
            protocols=protocols_of(sets, {name: value for name, value in changes.items() if value is not None}),
            strategies=strategy or [name for name in STRATEGIES if name != BY_WORDS],
            learners=learner or ["frozen"],
            adaptation_seconds=settings.adaptation_seconds,
            seeds=seeds,
            backbone=settings.backbone,
            image_size=settings.image_size,
            folder=folder,
            cache=cache,
            workers=workers or available_cpus(),
            phrasings=read_phrasings(words) if words else None,
        )
    )
