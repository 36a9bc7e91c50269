"""The command ``clinical``: wiring only. What a command needs is imported when it runs."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clinical_backend.errors import ClinicalError
from clinical_backend.logs import configure_logs
from clinical_backend.private import private_umask
from clinical_backend.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clinical_backend.labelstudio.client import LabelStudioClient

__all__ = ["main"]

logger = logging.getLogger(__name__)

app = typer.Typer(
    help="Label Studio ML backend that brings the rare cases to the front of the queue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
bench = typer.Typer(help="Measure speed, side by side, and print tables.", no_args_is_help=True)
app.add_typer(bench, name="bench")

_LAST_REQUESTS_SECONDS = 30
"""How long requests in progress may take when the server is told to end."""

_KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep an idle connection, so that none sends into one that is being closed."""

State = Literal["sqlite", "postgresql"]
Project = Annotated[int, typer.Option("--project", help="Id of the project, as in its address in Label Studio.")]


def main() -> None:
    """Run a command; an error of ours is one line with its cure, and exit code 1."""
    try:
        app()
    except ClinicalError as error:
        print(f"clinical: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        _flush()


def _flush() -> None:
    """Write out what was printed; where nobody reads it any more, that is no fault to be told of."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # the interpreter flushes once more


@app.command()
def serve() -> None:
    """Serve Label Studio's calls and run rounds. Settings come from the environment and .env."""
    import uvicorn

    from clinical_backend.storage.database import Database
    from clinical_backend.web.app import make_app, make_app_of_process
    from clinical_backend.web.exposure import examine_exposure, require_consent
    from clinical_backend.web.hosts import known_hosts
    from clinical_backend.web.protocol import TimelyProtocol

    settings = _settings()
    settings.api_key  # noqa: B018 - refuses to start without one
    require_consent(settings)
    known_hosts(settings)
    Database.of(settings).close()  # here a refusal is a sentence, in the server a traceback
    for finding in examine_exposure(settings):
        logger.warning("%s %s", finding.message, finding.cure)
    several = f"{make_app_of_process.__module__}:{make_app_of_process.__name__}"
    uvicorn.run(
        make_app(settings) if settings.workers == 1 else several,
        factory=settings.workers > 1,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        http=TimelyProtocol,
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
    )


@app.command()
def worker(
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True, help="For a server that starts it.")] = False,
) -> None:
    """Run rounds that servers queue in Redis (REDIS_URL): any number of workers, on any number of machines."""
    from clinical_backend.jobs.rq_worker import run_rq_worker
    from clinical_backend.jobs.worker import run_worker

    settings = _settings()
    if embedded:
        run_worker(settings)
    else:
        run_rq_worker(settings)


@app.command()
def adapt(
    project: Project,
    background: Annotated[
        bool, typer.Option("--background", hidden=True, help="With low priority, until the standard input ends.")
    ] = False,
) -> None:
    """Let a small network learn a project's own images, without labels. The server does it by itself."""
    from clinical_backend.jobs.background import stay_in_background
    from clinical_backend.rounds.adapt import adapt_project
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    settings = _settings()
    if background:
        stay_in_background()
    print(adapt_project(Workshop(settings, Database.of(settings)), project))


@app.command()
def finetune(
    project: Project,
    background: Annotated[
        bool, typer.Option("--background", hidden=True, help="With low priority, until the standard input ends.")
    ] = False,
) -> None:
    """Fine-tune the backbone on a project's labels. With TRAINING=finetune the server does it by itself."""
    from clinical_backend.jobs.background import stay_in_background
    from clinical_backend.rounds.finetune import finetune_project
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    settings = _settings()
    if background:
        stay_in_background()
    print(finetune_project(Workshop(settings, Database.of(settings)), project))


@app.command()
def connect(
    project: Project,
    exemplar_control: Annotated[
        bool | None,
        typer.Option(help="Add the control with which readers tag exemplars. Asks if neither is given."),
    ] = None,
    rare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Class to look for, as the labeling config writes it; may be given several times."
        ),
    ] = None,
) -> None:
    """Connect a project of Label Studio with this backend, which must be running."""
    from clinical_backend.labelstudio.connect import connect as connect_project
    from clinical_backend.labelstudio.connect import lacks_exemplar_control

    settings = _settings()
    with _client(settings) as client:
        add = exemplar_control
        if add is None and lacks_exemplar_control(client, project, settings.exemplar_control):
            add = sys.stdin.isatty() and typer.confirm(
                "Readers need a control to tag exemplars with. Add it to the labeling config?", default=True
            )
        changes = connect_project(
            client,
            project,
            backend_url=settings.public_url,
            basic_auth=settings.basic_auth,
            add_exemplar_control=bool(add),
            exemplar_control=settings.exemplar_control,
            published_version=_published_version(settings, project),
            rare_classes=rare or (),
        )
    for change in changes:
        print(f"{'•' if change.made else '!'} {change.detail}")
    made = any(change.made for change in changes)
    print("Connected." if made else "Connected already; nothing was to be changed.")
    if looked_for := _looked_for(settings, project, rare or ()):
        print(f"Looked for: {', '.join(looked_for)}.")
    else:
        print("Which finding is rare? Choose it on the project's page, or name it with --rare.")
    print(f"Its page: {settings.page_of(project)}")


@app.command()
def doctor(
    project: Annotated[
        int | None,
        typer.Option("--project", help="Id of the project; without one, only the backend itself is checked."),
    ] = None,
) -> None:
    """Check what the backend keeps, and the connection of a project, and print the cure for what is wrong."""
    from clinical_backend.jobs.condition import examine_clock, examine_condition
    from clinical_backend.labelstudio.doctor import Finding, Status, diagnose
    from clinical_backend.web.exposure import examine_exposure

    settings = _settings()
    if project is not None:
        settings.api_key  # noqa: B018 - refuses to look at a project without one
    findings = examine_exposure(settings) + examine_condition(settings)
    sound = not any(finding.check == "database" and finding.status is Status.ERROR for finding in findings)
    try:
        with _client(settings) as client:
            findings += diagnose(
                client,
                project,
                backend_url=settings.public_url,
                basic_auth=settings.basic_auth,
                exemplar_control=settings.exemplar_control,
                stars=settings.stars,
                published_version=_published_version(settings, project) if project and sound else None,
                questions=_questions(settings, project) if project and sound else (),
                read_image=_image_reader(settings, client),
            )
            findings += examine_clock(client)
    except ClinicalError as error:
        findings.append(Finding("settings", Status.ERROR, error.problem, error.cure))
    for finding in findings:
        print(f"{_MARKS[finding.status.value]} {finding.check}: {finding.message}")
        if finding.cure:
            print(f"    → {finding.cure}")
    if any(finding.status is Status.ERROR for finding in findings):
        raise typer.Exit(1)


_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


@app.command()
def status(project: Project) -> None:
    """Show where a project stands, from the database of this machine."""
    import json

    from clinical_backend.backend import Backend
    from clinical_backend.jobs.local import LocalRunner
    from clinical_backend.storage.database import Database

    settings = _settings()
    backend = Backend(settings, Database.of(settings), LocalRunner({}))
    found = backend.status(project)
    if found is None:
        print(f"Project {project} is not connected. Run `clinical connect --project {project}`.")
        raise typer.Exit(1)
    print(json.dumps(found, indent=2))


@app.command()
def rollback(
    project: Annotated[int, typer.Argument(help="Id of the project.")],
    number: Annotated[int, typer.Argument(metavar="ROUND", help="Number of the round to go back to.")],
) -> None:
    """Serve the queue and the model of an earlier round again; the last KEPT_ROUNDS are kept.

    The queue has those of its tasks that are not annotated yet. Later rounds go on as usual: the next one that is due
    learns from all labels and takes its place, unless it is worse on the rare classes. So correct wrong labels first.
    """
    from clinical_backend.backend import Backend
    from clinical_backend.jobs.local import LocalRunner
    from clinical_backend.storage.database import Database

    settings = _settings()
    done = Backend(settings, Database.of(settings), LocalRunner({})).rollback(project, number)
    print(f"Round {done.number}: {done.request}. Readers get it as {done.version}.")


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Which images and which reader.")] = 0,
    labels: Annotated[int, typer.Option(help="How many tasks the simulated reader annotates.", min=10)] = 60,
    repeats: Annotated[int, typer.Option(help="How many projects it reads, each with the next seed.", min=1)] = 1,
) -> None:
    """Show the loop: a real Label Studio, a project with a rare class, a simulated reader."""
    from clinical_backend.demo.run import run_demo

    run_demo(seed=seed, labels=labels, repeats=repeats)


@app.command()
def simulate(
    sets: Annotated[
        list[str], typer.Argument(help="Settings by name, or labelled sets: a folder per class, zip, CSV or npz.")
    ],
    strategy: Annotated[list[str] | None, typer.Option(help="What to compare; every one if none is given.")] = None,
    learner: Annotated[
        list[str] | None,
        typer.Option(help="Which features: frozen (default), adapted, joined, live, finetuned or resnet18."),
    ] = None,
    rare: Annotated[list[str] | None, typer.Option(help="Rare classes; by default the smallest class.")] = None,
    share: Annotated[float | None, typer.Option(help="Share of the pool that the rare classes have together.")] = None,
    exemplars: Annotated[int | None, typer.Option(help="Exemplars of each rare class at the start.")] = None,
    initial: Annotated[int | None, typer.Option(help="Random labels at the start.")] = None,
    pool: Annotated[int | None, typer.Option(help="Images in the pool.")] = None,
    labels: Annotated[int | None, typer.Option(help="Labels that the simulated reader gives.")] = None,
    batch: Annotated[int | None, typer.Option(help="Labels between two rounds.")] = None,
    audit_share: Annotated[float | None, typer.Option(help="Share of the queue drawn at random.")] = None,
    seeds: Annotated[int, typer.Option(help="How often, each with another draw.", min=1)] = 5,
    folder: Annotated[Path, typer.Option(help="Where results go; what is there is not run again.")] = Path(
        "simulation"
    ),
    workers: Annotated[int, typer.Option(help="Runs at the same time; one per core if 0.", min=0)] = 0,
) -> None:
    """Simulate readers on labelled sets: rare cases found, and the classifier, against labels."""
    from clinical_backend.experiments.protocol import protocols_of
    from clinical_backend.experiments.simulate import Plan, run_simulation
    from clinical_backend.experiments.strategies import STRATEGIES
    from clinical_backend.learner.backbones import available_cpus

    changes = {
        "rare_classes": tuple(rare) if rare else None,
        "rare_share": share,
        "exemplars": exemplars,
        "initial": initial,
        "pool": pool,
        "labels": labels,
        "batch": batch,
        "audit_share": audit_share,
    }
    settings = load_settings()
    run_simulation(
        Plan(
            protocols=protocols_of(sets, {name: value for name, value in changes.items() if value is not None}),
            strategies=strategy or STRATEGIES,
            learners=learner or ["frozen"],
            adaptation_seconds=settings.adaptation_seconds,
            seeds=seeds,
            backbone=settings.backbone,
            image_size=settings.image_size,
            folder=folder,
            cache=Path(".cache") / "experiments",
            workers=workers or available_cpus(),
        )
    )


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
    from clinical_backend.benchmarks.loop import main as run

    run()


@bench.command("round")
def bench_round() -> None:
    """Time check, fit and rank of a round, features cached, by the number of tasks."""
    from clinical_backend.benchmarks.round import main as run

    run()


@bench.command("embedding")
def bench_embedding() -> None:
    """Images per second, by engine and input size."""
    from clinical_backend.benchmarks.embedding import main as run

    run()


@bench.command("decoding")
def bench_decoding() -> None:
    """CPU time of decoding in child processes and in threads."""
    from clinical_backend.benchmarks.decoding import main as run

    run()


@bench.command("reliability")
def bench_reliability(
    kills: Annotated[int, typer.Option(help="How often one is killed; 35 is each at each point.", min=1)] = 35,
    state: Annotated[State, typer.Option(help="Which database holds the state.")] = "postgresql",
) -> None:
    """Kill workers, server, Redis and PostgreSQL in rounds while a simulated reader annotates; count what was lost.

    An interrupt (Ctrl+C) ends it early; what was tried until then is counted.
    """
    from clinical_backend.benchmarks.reliability import main as run

    run(kills, state)


@bench.command("webhooks")
def bench_webhooks(
    rate: Annotated[int, typer.Option(help="Webhooks a second.", min=1)] = 200,
    seconds: Annotated[int, typer.Option(help="For how long.", min=1)] = 20,
    state: Annotated[State, typer.Option(help="Which database holds the state.")] = "postgresql",
) -> None:
    """Send the same webhook 50 times at once, then many a second while rounds run: refusals, latency and memory."""
    from clinical_backend.benchmarks.webhooks import main as run

    run(rate, seconds, state)


@bench.command("coverage")
def bench_coverage() -> None:
    """Simulate projects, and count how often the stated 95 % intervals hold the truth."""
    from clinical_backend.benchmarks.coverage import main as run

    run()


@bench.command("preannotation")
def bench_preannotation() -> None:
    """Serve simulated projects, and count the ticked classes that are right, and the rare cases with a wrong one."""
    from clinical_backend.benchmarks.preannotation import main as run

    run()


@bench.command("chances")
def bench_chances() -> None:
    """Set the chances of simulated queues against what came of them, beside the detector's scores."""
    from clinical_backend.benchmarks.chances import main as run

    run()


@bench.command("second-look")
def bench_second_look() -> None:
    """Flip labels of blood cells, and measure how high missed findings stand in the second look."""
    from clinical_backend.benchmarks.second_look import main as run

    run()


@bench.command("dashboard")
def bench_dashboard() -> None:
    """Time the first paint of every page of a project with 100,000 tasks, in Chromium."""
    from clinical_backend.benchmarks.dashboard import main as run

    run()


@bench.command("smi")
def bench_smi() -> None:
    """Time every acquisition function beside submodlib."""
    from clinical_backend.benchmarks.smi import main as run

    run()


@bench.command("scale")
def bench_scale(
    points: Annotated[int, typer.Option(help="Images in the pool.", min=10_000)] = 1_000_000,
    dimension: Annotated[int, typer.Option(help="Length of a feature.", min=2)] = 128,
    ray: Annotated[bool, typer.Option(help="Also on a Ray of this machine.")] = False,
) -> None:
    """Time selection from a pool in 2 and 4 parts beside the whole, and count what moves between them."""
    from clinical_backend.benchmarks.scale import main as run

    run(points, dimension, ray=ray)


def _settings() -> Settings:
    settings = load_settings()
    configure_logs(settings)
    os.umask(private_umask(settings.model_dir))
    return settings


def _client(settings: Settings) -> LabelStudioClient:
    from clinical_backend.labelstudio.client import LabelStudioClient

    return LabelStudioClient(settings.label_studio_url, settings.api_key)


def _published_version(settings: Settings, project: int) -> str | None:
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.projects import ProjectStore

    row = ProjectStore(Database.of(settings)).get(project)
    return row.published_version if row else None


def _looked_for(settings: Settings, project: int, rare: Sequence[str]) -> tuple[str, ...]:
    """Choose what to look for, if anything is named, and return what is looked for by name."""
    from clinical_backend.rounds.options import choose_rare, named_classes
    from clinical_backend.storage.database import Database
    from clinical_backend.storage.stores import Stores

    stores = Stores(Database.of(settings))
    if rare:
        stores.projects.register(project)
        choose_rare(stores, project, rare)
    row = stores.projects.get(project)
    return named_classes(settings, row) if row else settings.rare_classes


def _questions(settings: Settings, project: int) -> list[tuple[str, str]]:
    from clinical_backend.rounds.questions import open_questions
    from clinical_backend.rounds.workshop import Workshop
    from clinical_backend.storage.database import Database

    workshop = Workshop(settings, Database.of(settings))
    return [question.as_problem(settings.page_of(project)) for question in open_questions(workshop, project)]


def _image_reader(settings: Settings, client: LabelStudioClient) -> Callable[[str, int], object]:
    from clinical_backend.images.decoding import decode
    from clinical_backend.images.sources import ImageSource

    source = ImageSource(
        settings.label_studio_url,
        client.http,
        local_roots=settings.local_roots,
        allowed_hosts=settings.image_hosts,
    )

    def read(uri: str, task_id: int) -> object:
        return decode(source.fetch(uri, task_id))

    return read
