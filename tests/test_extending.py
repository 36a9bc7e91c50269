"""What docs/extending.md says of adding something, done: each test adds one and finds it where it has to be known."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from jinja2 import ChoiceLoader, DictLoader
from PIL import Image
from pydantic import BaseModel, Field
from starlette.datastructures import FormData

from clinical_backend.acquisition import ACQUISITIONS, settable
from clinical_backend.acquisition.compiled.greedy import largest
from clinical_backend.acquisition.declaration import acquisition
from clinical_backend.errors import ImageError
from clinical_backend.images.decoders import decoding
from clinical_backend.labelstudio.contract import ProjectId
from clinical_backend.learner.backbones.loading import load_backbone
from clinical_backend.project_settings import ProjectOptions
from clinical_backend.settings import Settings, SettingsError, load_settings
from clinical_backend.strategy.fit import fit
from clinical_backend.strategy.order import rank
from clinical_backend.strategy.target import find_target
from clinical_backend.strategy.tasks import FeaturedTasks, Inputs
from clinical_backend.web.app import make_app
from clinical_backend.web.pages import settings_form
from clinical_backend.web.pages.settings_form import SettingsForm, fields, read_settings
from clinical_backend.web.pages.site import ThisSite
from clinical_backend.workspace import project_options
from clinical_backend.workspace.project_options import read_options, store_options
from tests.acquisition.oracle import embeddings
from tests.acquisition.test_contract import TestEveryAcquisition as Contract
from tests.tiny_network import TINY, save_tiny_weights
from tests.web.noting_runner import Wakes

ROOT = Path(__file__).parent.parent


@acquisition("the brightest first", needs=["query"], settable=True)
def brightest(request):
    """Rank by the first number of a feature."""
    return largest(request.pool.features[:, 0].astype(np.float64), request.budget)


@pytest.fixture
def with_brightest(monkeypatch):
    monkeypatch.setitem(ACQUISITIONS, "brightest", brightest)


@pytest.mark.usefixtures("with_brightest")
class TestAcquisition:
    def test_it_keeps_to_the_contract(self):
        sets, contract = embeddings("clustered", (60, 4, 3), 8, seed=2), Contract()
        contract.test_picks_distinct_rows_with_finite_gains("brightest", sets)
        contract.test_is_reproducible("brightest", sets)
        contract.test_a_budget_of_zero_picks_nothing("brightest", sets)
        contract.test_duplicates_are_points_of_their_own("brightest", sets)

    def test_settings_know_it_and_others_are_refused(self):
        assert load_settings(acquisition="brightest").acquisition == "brightest"
        assert ProjectOptions.model_validate({"acquisition": "brightest"}).acquisition == "brightest"
        with pytest.raises(SettingsError, match="or 'brightest'"):
            load_settings(acquisition="darkest")

    def test_the_page_offers_it(self):
        (order,) = (field for field in fields() if field.name == "acquisition")
        assert order.choices["brightest"] == "the brightest first"
        assert "typiclust" not in order.choices

    def test_a_round_orders_by_it_where_what_it_needs_is_there(self):
        features = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
        tasks, tagged = FeaturedTasks(np.arange(30), features), FeaturedTasks(np.array([0]), features[:1])
        target = find_target({}, (0,), (), (), ("common", "rare"))
        for query, chosen in ((tagged, "brightest"), (tagged.none(), "coreset")):
            inputs = Inputs.of(tagged.none(), tasks, query)
            fitted = fit(inputs, {}, ("common", "rare"), target, seed=0)
            settings = load_settings(acquisition="brightest", queue_size=5, audit_share=0)
            choice, queue = rank(settings, inputs, target, fitted, round_number=1)
            assert choice.acquisition == chosen
            if chosen == "brightest":
                assert [task.task_id for task in queue] == np.argsort(-features[:, 0])[:5].tolist()
            else:
                assert "needs a query set" in choice.reason


class Shade(BaseModel):
    shade: int = Field(
        default=3, ge=1, le=9, title="Shade", description="How dark it is.", json_schema_extra={"unit": "steps"}
    )


class TestSetting:
    @pytest.fixture(autouse=True)
    def shaded(self, monkeypatch):
        class Options(ProjectOptions, Shade):
            pass

        for module in (project_options, settings_form):
            monkeypatch.setattr(module, "ProjectOptions", Options)

    def test_it_is_read_from_the_environment_and_set_by_a_project(self, workspace, monkeypatch):
        class Shaded(Settings, Shade):
            pass

        project = workspace.project(1)
        workspace.settings = Shaded()
        assert read_options(project)["shade"].value == 3
        monkeypatch.setenv("SHADE", "5")
        workspace.settings = Shaded()
        assert read_options(project)["shade"].value == 5
        store_options(project, project_options.ProjectOptions(shade=7))
        assert read_options(project)["shade"] == project_options.Option(7, "page")

    def test_the_page_has_an_entry_that_keeps_to_its_bounds(self):
        before = {name: project_options.Option(None, "backend") for name in project_options.ProjectOptions.model_fields}
        (entry,) = (field for field in SettingsForm((), before).fields if field.name == "shade")
        assert (entry.label, entry.effect, entry.unit) == ("Shade", "How dark it is.", "steps")
        taken, _, problems = read_settings(FormData({"shade": "8"}), (), before)
        assert (taken.shade, problems) == (8, {})
        _, _, problems = read_settings(FormData({"shade": "12"}), (), before)
        assert problems == {"shade": "Enter a whole number from 1 to 9."}


def test_the_table_in_the_readme_has_every_setting_of_a_project_with_its_default():
    table = {}
    for line in (ROOT / "README.md").read_text().splitlines():
        if line.startswith("| `") and "●" in line:
            names, defaults, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
            table |= zip(re.findall(r"`(\w+)`", names), defaults.split(", "), strict=True)
    for name, option in ProjectOptions.model_fields.items():
        default = "none" if option.default in (None, ()) else str(option.default).removesuffix(".0")
        assert table.pop(name.upper()).strip("`").lower() == default.lower(), name
    assert not table


def test_the_readme_names_every_acquisition_that_a_project_may_set():
    (row,) = (line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `ACQUISITION`"))
    assert re.findall(r"`([a-z_]+)`", row) == ["auto", *settable()]


def test_an_image_format_that_pillow_reads_is_one_name(monkeypatch):
    file = BytesIO()
    Image.new("RGB", (2, 1), (9, 8, 7)).save(file, "PPM")
    with pytest.raises(ImageError, match="PNM"):
        decoding.decode(file.getvalue())
    monkeypatch.setattr(decoding, "_FORMATS", (*decoding._FORMATS, "PPM"))
    assert decoding.decode(file.getvalue()).getpixel((1, 0)) == (9, 8, 7)


def test_a_page_is_a_route_and_a_template(tmp_path):
    def notes(request: Request, site: ThisSite, project_id: ProjectId):
        return site.page(request, "notes.html", here="notes", project=site.project(project_id))

    app = make_app(load_settings(model_dir=tmp_path, label_studio_api_key="k"), Wakes())
    app.add_api_route("/projects/{project_id}/notes", notes, response_model=None)
    with TestClient(app, headers={"Accept": "text/html"}) as web:
        templates = app.state.site._templates
        page = {"notes.html": '{% extends "base.html" %}{% block content %}<h1>Notes</h1>{% endblock %}'}
        templates.loader = ChoiceLoader([DictLoader(page), templates.loader])
        app.state.site.stores.projects.register(1)
        shown = web.get("/projects/1/notes")
        assert shown.status_code == 200
        assert "<h1>Notes</h1>" in shown.text
        assert 'aria-label="Project"' in shown.text
        assert web.get("/projects/2/notes").status_code == 404


def test_a_backbone_is_named_by_a_setting_alone(tmp_path):
    weights = tmp_path / "tiny.safetensors"
    save_tiny_weights(weights)
    settings = load_settings(backbone=f"timm:{TINY}?weights={weights}", image_size=64)
    backbone = load_backbone(settings.backbone, folder=tmp_path, image_size=settings.image_size, device="cpu")
    assert backbone.embed(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, backbone.dimension)
