"""The commands ``clinical bench …``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = ["bench"]

bench = typer.Typer(help="Measure speed, side by side, and print tables.", no_args_is_help=True)

State = Literal["sqlite", "postgresql"]


@bench.command("all")
def bench_all() -> None:
    """Run every benchmark, one after the other."""
    bench_loop()
    bench_round()
    bench_embedding()
    bench_decoding()
    bench_smi()
    bench_dashboard()


@bench.command("loop")
def bench_loop() -> None:
    """Time from the Nth annotation to the new order, stage by stage."""
    from clinical_backend.lab.benchmarks.loop import main as run

    run()


@bench.command("round")
def bench_round(
    tasks: Annotated[list[int] | None, typer.Option(help="How many tasks; may be given several times.")] = None,
    repeats: Annotated[int, typer.Option(help="Runs that the median is of; rounds of each whole project.", min=1)] = 5,
    frozen: Annotated[bool, typer.Option("--frozen", help="Without an adapted network.")] = False,
    images: Annotated[int, typer.Option(help="Images of each task; of several, one decides.", min=1)] = 1,
    whole: Annotated[
        bool, typer.Option("--whole", help="Rounds from a database to the queue, of one image a task.")
    ] = False,
) -> None:
    """Time check, fit and rank of a round, features cached, by the number of tasks; or whole rounds, one by one."""
    if whole and images > 1:
        raise typer.BadParameter("whole rounds are of one image a task.", param_hint="--images")
    if whole:
        from clinical_backend.lab.benchmarks.whole_round import main as run_whole

        run_whole(tasks or (1000, 10_000), repeats, frozen=frozen)
        return
    if images > 1:
        from clinical_backend.lab.benchmarks.study_rounds import main as run_studies

        run_studies(tasks or (1000, 10_000), images, repeats)
        return
    from clinical_backend.lab.benchmarks.round import main as run

    run(tasks or (1000, 10_000, 50_000), repeats, frozen=frozen)


@bench.command("first-queue")
def bench_first_queue(
    images: Annotated[int, typer.Option(help="Images of the project.", min=1)] = 10_000,
    served: Annotated[bool, typer.Option("--served", help="Label Studio serves the images.")] = False,
    adaptation: Annotated[bool, typer.Option(help="Adapt a network meanwhile, as is the default.")] = True,
) -> None:
    """Time from a new project's connection to its first queue, and to the one that all its images are in."""
    from clinical_backend.lab.benchmarks.first_queue import main as run

    run(images, served=served, adaptation=adaptation)


@bench.command("embedding")
def bench_embedding() -> None:
    """Images per second, by engine and input size."""
    from clinical_backend.lab.benchmarks.embedding import main as run

    run()


@bench.command("decoding")
def bench_decoding() -> None:
    """CPU time of decoding in child processes and in threads."""
    from clinical_backend.lab.benchmarks.decoding import main as run

    run()


@bench.command("reliability")
def bench_reliability(
    kills: Annotated[int, typer.Option(help="How often one is killed; 35 is each at each point.", min=1)] = 35,
    state: Annotated[State, typer.Option(help="Which database holds the state.")] = "postgresql",
) -> None:
    """Kill workers, server, Redis and PostgreSQL in rounds while a simulated reader annotates; count what was lost.

    An interrupt (Ctrl+C) ends it early; what was tried until then is counted.
    """
    from clinical_backend.lab.benchmarks.reliability import main as run

    run(kills, state)


@bench.command("webhooks")
def bench_webhooks(
    rate: Annotated[int, typer.Option(help="Webhooks a second.", min=1)] = 200,
    seconds: Annotated[int, typer.Option(help="For how long.", min=1)] = 20,
    state: Annotated[State, typer.Option(help="Which database holds the state.")] = "postgresql",
) -> None:
    """Send the same webhook 50 times at once, then many a second while rounds run: refusals, latency and memory."""
    from clinical_backend.lab.benchmarks.webhooks import main as run

    run(rate, seconds, state)


@bench.command("coverage")
def bench_coverage() -> None:
    """Simulate projects, and count how often the stated 95 % intervals hold the truth."""
    from clinical_backend.lab.benchmarks.intervals import main as run

    run()


@bench.command("weights")
def bench_weights() -> None:
    """Simulate projects, and count how often weighted labels hold the truth, beside labels without weights."""
    from clinical_backend.lab.benchmarks.weights import main as run

    run()


@bench.command("card")
def bench_card() -> None:
    """Simulate projects, and count how often the intervals of a model card hold the truth of all tasks."""
    from clinical_backend.lab.benchmarks.card import main as run

    run()


@bench.command("export")
def bench_export(
    labels: Annotated[int, typer.Option(help="How many tasks have a label.", min=1000)] = 20_000,
) -> None:
    """Export a simulated project in every format, cut off and begun again, and on a full disk: time and memory."""
    from clinical_backend.lab.benchmarks.exporting import main as run

    run(labels)


@bench.command("handover")
def bench_handover() -> None:
    """Take real images from tasks to labels.csv, model card and exported model; compute the card's figures anew."""
    from clinical_backend.lab.benchmarks.handover import main as run

    run()


@bench.command("stopping")
def bench_stopping() -> None:
    """Stop simulated projects when the recall is said to be reached, and count how many kept it, and the labels."""
    from clinical_backend.lab.benchmarks.stopping import main as run

    run()


@bench.command("preannotation")
def bench_preannotation() -> None:
    """Serve simulated projects, and count the ticked classes that are right, and the rare cases with a wrong one."""
    from clinical_backend.lab.benchmarks.preannotation import main as run

    run()


@bench.command("chances")
def bench_chances() -> None:
    """Set the chances of simulated queues against what came of them, beside the detector's scores."""
    from clinical_backend.lab.benchmarks.chances import main as run

    run()


@bench.command("outside-exemplars")
def bench_outside_exemplars(
    seeds: Annotated[int, typer.Option(help="How often, each with another draw.", min=2)] = 5,
) -> None:
    """Start projects without a case, with own exemplars and with some from outside, as they are and shifted."""
    from clinical_backend.lab.benchmarks.outside_exemplars import main as run

    run(seeds)


@bench.command("words")
def bench_words(seeds: Annotated[int, typer.Option(help="How often, each with another draw.", min=2)] = 8) -> None:
    """Start projects by right and by wrong words, in a simulated joint space."""
    from clinical_backend.lab.benchmarks.words import main as run

    run(seeds)


@bench.command("rehearsal")
def bench_rehearsal(seeds: Annotated[int, typer.Option(help="How many projects of each set.", min=2)] = 3) -> None:
    """Rehearse on what simulated projects labelled, and compare it with what other settings find in all of them."""
    from clinical_backend.lab.benchmarks.rehearsal import main as run

    run(seeds)


@bench.command("second-look")
def bench_second_look() -> None:
    """Flip labels of blood cells, and measure how high missed findings stand in the second look."""
    from clinical_backend.lab.benchmarks.second_look import main as run

    run()


@bench.command("import")
def bench_import(
    objects: Annotated[int, typer.Option(help="DICOM objects in the archive.", min=100)] = 5000,
    repeats: Annotated[int, typer.Option(help="Runs that the mean is of.", min=1)] = 3,
) -> None:
    """Import the objects of an Orthanc, beside a plain download of the same."""
    from clinical_backend.lab.benchmarks.dicomweb import main as run

    run(objects, repeats)


@bench.command("replacement")
def bench_replacement() -> None:
    """Change the backbone of real images with few labels, and count how often these refuse the new one."""
    from clinical_backend.lab.benchmarks.replacement import main as run

    run()


@bench.command("dashboard")
def bench_dashboard() -> None:
    """Time the first paint of every page of a project with 100,000 tasks, in Chromium."""
    from clinical_backend.lab.benchmarks.dashboard import main as run

    run()


@bench.command("smi")
def bench_smi() -> None:
    """Time every acquisition function beside submodlib."""
    from clinical_backend.lab.benchmarks.smi import main as run

    run()


@bench.command("scale")
def bench_scale(
    points: Annotated[int, typer.Option(help="Images in the pool.", min=10_000)] = 1_000_000,
    dimension: Annotated[int, typer.Option(help="Length of a feature.", min=2)] = 128,
    ray: Annotated[bool, typer.Option(help="Also on a Ray of this machine.")] = False,
) -> None:
    """Time selection from a pool in 2 and 4 parts beside the whole, and count what moves between them."""
    from clinical_backend.lab.benchmarks.scale import main as run

    run(points, dimension, ray=ray)
