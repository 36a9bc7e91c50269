"""Options of a project: those of its page win, field by field, and no ``/setup`` overwrites them."""

from __future__ import annotations

import pytest

from clinical_backend.project_settings import ProjectOptions
from clinical_backend.settings import SettingsError
from clinical_backend.workspace.project_options import Option, read_options, store_options


def test_the_page_wins_over_extra_parameters_which_win_over_the_backend(workspace):
    stores = workspace.stores
    stores.projects.register(1, {"queue_size": 50, "audit_share": 0.2})
    store_options(workspace.project(1), ProjectOptions(queue_size=30, rare_classes=("a", "b"), group_field="patient"))
    stores.projects.register(1, {"queue_size": 70, "audit_share": 0.3})
    options = read_options(workspace.project(1))
    assert options["queue_size"] == Option(30, "page")
    assert options["audit_share"] == Option(0.3, "extra parameters")
    assert options["group_cap"] == Option(1, "backend")
    settings = workspace.project(1).settings
    assert (settings.queue_size, settings.audit_share, settings.group_field) == (30, 0.3, "patient")
    assert settings.rare_classes == ("a", "b")


def test_what_the_page_gives_up_falls_back_and_a_round_is_due(workspace):
    stores = workspace.stores
    stores.projects.register(1, {"queue_size": 50})
    store_options(workspace.project(1), ProjectOptions(queue_size=30))
    stores.projects.change(1, request=None)
    store_options(workspace.project(1), ProjectOptions())
    assert read_options(workspace.project(1))["queue_size"] == Option(50, "extra parameters")
    assert stores.projects.get(1).request == "the project's settings were changed"


def test_wrong_options_are_named_with_where_to_correct_them(workspace):
    workspace.stores.projects.register(1, {"queue_size": "many"})
    with pytest.raises(SettingsError, match=r"queue_size.*project's page"):
        _ = workspace.project(1).settings


@pytest.mark.parametrize(("kept", "mode"), [(True, "all"), (False, "off"), ("confident", "confident")])
def test_a_yes_or_no_of_an_earlier_version_is_read_as_today(workspace, kept, mode):
    workspace.stores.projects.change(1, page_options={"preannotate": kept})
    assert read_options(workspace.project(1))["preannotate"] == Option(mode, "page")
    assert workspace.project(1).settings.preannotate == mode
