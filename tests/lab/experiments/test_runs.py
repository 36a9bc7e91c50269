"""Runs that are done once, and what is said of them together."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clinical_backend.errors import ClinicalError, InvalidArgumentError
from clinical_backend.lab.experiments.curves import save_curves
from clinical_backend.lab.experiments.datasets import load_images
from clinical_backend.lab.experiments.protocol import Protocol, draw
from clinical_backend.lab.experiments.runs import Run, learner_of, read_results, run_all
from clinical_backend.lab.experiments.simulate import Plan, run_simulation
from clinical_backend.lab.experiments.summary import first_after, markdown
from clinical_backend.learner.backbones.base import BackboneSpec
from clinical_backend.learner.backbones.loading import parse_backbone
from clinical_backend.learner.classifier.linear import LinearClassifier
from tests.tiny_network import TINY, save_tiny_weights


@pytest.fixture(scope="session")
def tiny_spec(tmp_path_factory: pytest.TempPathFactory) -> BackboneSpec:
    folder = tmp_path_factory.mktemp("weights")
    save_tiny_weights(folder / "tiny.safetensors")
    name = f"timm:{TINY}?weights={folder / 'tiny.safetensors'}"
    return parse_backbone(name, image_size=32, folder=folder)


@pytest.fixture
def runs(tmp_path: Path, tiny_spec: BackboneSpec) -> list[Run]:
    generator = np.random.default_rng(0)
    for number in range(90):
        folder = tmp_path / "scans" / ("rare" if number < 30 else "common")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(folder / f"{number}.png")
    labels = np.repeat([0.0, 1.0], [60, 30])  # "common" sorts before "rare"
    np.save(tmp_path / "features.npy", (generator.normal(size=(90, 8)) + 2 * labels[:, None]).astype(np.float32))
    protocol = Protocol(str(tmp_path / "scans"), rare_share=0.1, pool=40, exemplars=2, labels=20, batch=10)
    return [
        Run("scans", protocol, strategy, seed, "frozen", (str(tmp_path / "features.npy"),), "points-1", tiny_spec)
        for seed in range(2)
        for strategy in ("auto", "random")
    ]


def test_runs_are_kept_line_by_line_and_not_done_again(runs: list[Run], tmp_path: Path):
    results = tmp_path / "out" / "runs.jsonl"
    seen: list[tuple[int, int]] = []
    first = run_all(runs[:2], results, workers=1, data_cache=tmp_path, progress=lambda *count: seen.append(count))
    results.write_text(results.read_text() + '{"key": "cut o')  # killed while it wrote

    every = run_all(runs, results, workers=1, data_cache=tmp_path, progress=lambda *count: seen.append(count))

    assert seen == [(0, 2), (1, 2), (2, 2), (2, 4), (3, 4), (4, 4)]
    assert every[:2] == first
    assert [item["key"] for item in every] == [run.key for run in runs]
    assert len(read_results(results)) == 4
    assert every[0]["versions"]["numpy"] == np.__version__
    assert every[0]["protocol"]["rare_share"] == 0.1
    assert every[0]["classes_found"] == {"rare": every[0]["found"]}
    assert 0 < every[0]["measured"]["0"]["class_coverage"] <= every[0]["measured"]["20"]["class_coverage"] <= 1


def test_a_damaged_line_is_an_error_with_the_cure(tmp_path: Path):
    (tmp_path / "runs.jsonl").write_text("nonsense\n")

    with pytest.raises(ClinicalError, match=r"runs.jsonl holds a line that is no result\. Remove it"):
        read_results(tmp_path / "runs.jsonl")


def result(strategy: str, seed: int, found: list[int], precision: float) -> dict[str, object]:
    return {
        "name": "scans",
        "learner": "points",
        "strategy": strategy,
        "seed": seed,
        "protocol": {"labels": 4, "exemplars": 2, "initial": 0, "common": 0, "batch": 2},
        "pool": 40,
        "rare": 4,
        "found": found,
        "classes_found": {"rare": found},
        "measured": {"0": {}, "4": {"average_precision": precision, "balanced_accuracy": 0.5}},
        "seconds": [0.1, 0.2],
    }


RESULTS = [
    result("auto", 0, [1, 2, 3, 4], 0.9),
    result("auto", 1, [1, 2, 2, 2], 0.7),
    result("random", 0, [0, 0, 1, 1], 0.5),
    result("random", 1, [0, 1, 2, 3], 0.5),
]


def test_a_table_gives_means_errors_and_paired_differences():
    table = markdown(RESULTS)

    assert "| **auto** | 3.0 ± 1.0 | 0.800 ± 0.100 |" in table
    row = next(line for line in table.splitlines() if line.startswith("| random"))
    assert "| 2.0 ± 1.0 |" in row
    assert "| +1.0 ± 2.0 | 1, 1 |" in row


def test_a_table_gives_what_was_found_of_each_class_the_worst_first():
    several = [
        {**one, "classes_found": {"easy": [1, 1, 2, 2], "hard": [0, 1, 1, 1 + one["seed"]]}}  # type: ignore[operator]
        for one in RESULTS
    ]

    table = markdown(several)

    assert "of each class, the worst first" in table
    assert "| hard 1.5; easy 2.0 |" in table
    assert "of each class" not in markdown(RESULTS)


def test_a_table_gives_the_class_coverage_at_every_stop():
    covered = [
        {**one, "measured": {"0": {}, "4": {**one["measured"]["4"], "class_coverage": 0.5 + one["seed"] / 4}}}  # type: ignore[index,operator,dict-item]
        for one in RESULTS
    ]

    assert "| 0.62 |" in markdown(covered)
    assert "class coverage | auto − it after 4 |" in markdown(covered)


def test_learners_are_set_beside_p_rare_on_frozen_features():
    learners = [result | {"learner": "joined"} for result in RESULTS] + [
        {**item, "strategy": "p_rare" if item["strategy"] == "random" else item["strategy"], "learner": "frozen"}
        for item in RESULTS
    ]

    table = markdown(learners).partition("learners side by side")[2]

    assert "| auto, frozen | 1.0 ± 0.0 | 3.0 ± 1.0 (1.50) | 0.800 ± 0.100 |" in table
    assert "| p_rare, frozen | 2.5 ± 0.5 | 2.0 ± 1.0 (1.00) | 0.500 ± 0.000 |" in table


def test_the_first_rare_case_is_counted_or_said_to_be_beyond():
    assert first_after(result("auto", 0, [0, 0, 1, 2], 0.5)) == 3
    assert first_after(result("auto", 0, [0, 0, 0, 0], 0.5)) == 5


@pytest.mark.parametrize("wrong", [{"strategies": ["guess"]}, {"learners": ["guess"]}])
def test_an_unknown_name_is_refused_before_anything_is_embedded(wrong: dict[str, list[str]], tmp_path: Path):
    plan = Plan(
        **{"protocols": {}, "strategies": ["auto"], "learners": ["frozen"], **wrong},  # type: ignore[arg-type]
        adaptation_seconds=1.0,
        seeds=1,
        backbone="none:such",
        image_size=64,
        folder=tmp_path,
        cache=tmp_path,
        workers=1,
    )
    with pytest.raises(InvalidArgumentError, match="'guess'"):
        run_simulation(plan)


def test_curves_are_drawn_as_png_and_svg(tmp_path: Path):
    save_curves(RESULTS, "scans", tmp_path / "curves")

    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 600
    assert "auto" in (tmp_path / "curves.svg").read_text() or (tmp_path / "curves.svg").stat().st_size > 5000


@pytest.mark.parametrize(("learner", "dimension"), [("frozen", 8), ("adapted", 3), ("joined", 11), ("live", 11)])
def test_a_learner_says_which_features_are_taken(runs: list[Run], tmp_path: Path, learner: str, dimension: int):
    np.save(tmp_path / "adapted.npy", np.ones((90, 3), dtype=np.float32))
    paths = (*runs[0].features, str(tmp_path / "adapted.npy"))

    features, classifier = learnt(replace(runs[0], learner=learner, features=paths), tmp_path)

    assert features.shape == (90, dimension)
    assert classifier is None


@pytest.mark.parametrize("learner", ["finetuned", "resnet18"])
def test_a_network_is_trained_on_the_labels(
    runs: list[Run], tmp_path: Path, learner: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clinical_backend.learner.finetuning.training._EPOCHS", 1)
    monkeypatch.setattr("clinical_backend.lab.experiments.distil._EPOCHS", 1)

    features, classifier = learnt(replace(runs[0], learner=learner), tmp_path)

    assert features.any(axis=1).sum() == 40 + 2 + 27  # pool, exemplars and held out; nobody asks for the others
    assert classifier is not None
    assert classifier.classes == ("common", "rare")
    assert np.isfinite(classifier.residuals(features)).all()


def test_a_network_waits_for_a_second_class(runs: list[Run], tmp_path: Path):
    features, classifier = learnt(replace(runs[0], learner="finetuned"), tmp_path, classes={"rare"})

    assert classifier is None
    assert np.array_equal(features, np.load(runs[0].features[0]))


def learnt(
    run: Run, folder: Path, classes: Collection[str] = ("common", "rare")
) -> tuple[NDArray[np.float32], LinearClassifier | None]:
    data = load_images(run.protocol.dataset, cache=folder)
    drawn = draw(run.protocol, data, 0)
    names = {int(image): data.classes[data.labels[image]] for image in drawn.pool[:20]}
    labels = {image: name for image, name in names.items() if name in classes}
    return learner_of(run, drawn, folder).learn(labels, (), drawn.pool[20:], 0)
