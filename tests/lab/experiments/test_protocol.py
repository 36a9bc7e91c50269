"""What a seed makes of a protocol."""

import re
from dataclasses import replace
from typing import get_type_hints

import numpy as np
import pytest

from clinical_backend.errors import InvalidArgumentError
from clinical_backend.lab.experiments.datasets import LabelledImages
from clinical_backend.lab.experiments.protocol import PROTOCOLS, Protocol, draw, protocols_of
from clinical_backend.lab.simulation_cli import simulate
from tests.lab.experiments.conftest import Labelled

PROTOCOL = Protocol("points", rare_share=0.05, pool=200, exemplars=2, initial=10)


def test_the_smallest_class_is_rare_and_has_its_share(labelled: Labelled):
    data, _ = labelled

    drawn = draw(PROTOCOL, data, 0)

    assert drawn.rare_classes == ("rare",)
    assert len(drawn.pool) == 200 + 2
    assert np.sum(data.labels[drawn.pool] == 2) == 10 + 2
    assert np.all(data.labels[drawn.exemplars] == 2)


def test_what_is_drawn_does_not_overlap(labelled: Labelled):
    data, _ = labelled

    drawn = draw(PROTOCOL, data, 0)

    assert len(set(drawn.pool.tolist())) == len(drawn.pool)
    assert set(drawn.exemplars.tolist()) | set(drawn.initial.tolist()) <= set(drawn.pool.tolist())
    assert not set(drawn.exemplars.tolist()) & set(drawn.initial.tolist())
    assert not data.held_out[drawn.pool].any()
    assert data.held_out[drawn.test].all()


def test_a_seed_draws_the_same_and_another_something_else(labelled: Labelled):
    data, _ = labelled

    assert draw(PROTOCOL, data, 3).pool.tolist() == draw(PROTOCOL, data, 3).pool.tolist()
    assert draw(PROTOCOL, data, 3).pool.tolist() != draw(PROTOCOL, data, 4).pool.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rare_classes": ("unheard of",)}, "no class 'unheard of'"),
        ({"rare_share": 0.4}, "are wanted"),
        ({"rare_classes": ("common", "rare"), "rare_share": 1.0}, "leave nothing common"),
    ],
)
def test_what_the_set_cannot_give_is_refused(labelled: Labelled, changes: dict[str, object], message: str):
    protocol = next(iter(protocols_of(["points"], {"pool": 200, **changes}).values()))

    with pytest.raises(InvalidArgumentError, match=message):
        draw(protocol, labelled[0], 0)


def test_the_command_names_every_family_of_settings():
    told = get_type_hints(simulate, include_extras=True)["sets"].__metadata__[0].help
    families = re.findall(r"\w+", told[told.index("(") : told.index(", or a")])
    assert {name.partition("-")[0] for name in PROTOCOLS} == {*families}


def test_a_name_of_a_protocol_takes_changes_too():
    found = protocols_of(["chest-warm", "my scans"], {"labels": 40})

    assert found["chest-warm"].initial == PROTOCOLS["chest-warm"].initial
    assert found["chest-warm"].labels == 40
    assert found["my scans"] == Protocol("my scans", labels=40)


def test_slips_take_the_place_of_exemplars_and_are_common_cases_of_no_pool(labelled: Labelled):
    data, _ = labelled
    plain, slipped = draw(PROTOCOL, data, 0), draw(replace(PROTOCOL, slips=1), data, 0)

    assert slipped.exemplars[0] == plain.exemplars[0]
    assert data.classes[data.labels[slipped.exemplars[0]]] == "rare"
    assert data.classes[data.labels[slipped.exemplars[1]]] != "rare"
    assert set(slipped.pool.tolist()) - set(plain.pool.tolist()) == {int(slipped.exemplars[1])}
    assert len(slipped.pool) == len(plain.pool)


def test_common_labels_and_validation_images_stand_beside_the_same_pool(labelled: Labelled):
    data, _ = labelled
    plain = draw(replace(PROTOCOL, initial=0), data, 0)
    beside = draw(replace(PROTOCOL, initial=0, common=15, validation=6), data, 0)

    assert beside.exemplars.tolist() == plain.exemplars.tolist()
    assert set(beside.pool.tolist()) - set(plain.pool.tolist()) == set(beside.initial.tolist())
    assert len(beside.initial) == 15
    assert not np.any(data.labels[beside.initial] == 2)
    assert len(beside.validation) == 6
    assert np.all(data.labels[beside.validation] == 2)
    assert not set(beside.validation.tolist()) & set(beside.pool.tolist())
    assert not data.held_out[beside.validation].any()


def test_too_few_images_for_validation_are_refused(labelled: Labelled):
    with pytest.raises(InvalidArgumentError, match="40 images for validation"):
        draw(replace(PROTOCOL, validation=40), labelled[0], 0)


@pytest.mark.parametrize(
    ("name", "of_each", "common"),
    [("skin-mel", 80, 3920), ("skin-three", 40, 3880), ("skin-tiny", 10, 3990), ("trust", 53, 1050)],
)
def test_a_setting_has_as_many_rare_and_common_cases_as_it_says(name: str, of_each: int, common: int):
    protocol = PROTOCOLS[name]
    classes = ("common", *protocol.rare_classes)
    labels = np.repeat(np.arange(len(classes)), [5000, *[200] * len(protocol.rare_classes)])
    data = LabelledImages("drawn", classes, [], labels, np.zeros(len(labels), dtype=bool))

    drawn = draw(protocol, data, 0)
    counts = np.bincount(data.labels[np.setdiff1d(drawn.pool, [*drawn.exemplars, *drawn.initial])])

    assert counts.tolist() == [common, *[of_each] * len(protocol.rare_classes)]
    assert len(drawn.exemplars) == 5 * len(protocol.rare_classes)
    assert len(drawn.initial) == protocol.common
