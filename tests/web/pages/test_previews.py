import os
import xml.etree.ElementTree as ET

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clinical_backend.web.pages.previews import make_room, placeholder, within


@given(st.integers(1, 700), st.integers(1, 700))
def test_the_whole_image_is_kept_in_its_proportions_and_never_enlarged(width, height):
    made = within(Image.new("RGB", (width, height)), 256)
    assert made.dtype == np.uint8
    assert max(made.shape[:2]) == min(256, max(width, height))
    assert min(made.shape[:2]) >= 1


def test_what_was_looked_at_longest_ago_makes_room(tmp_path):
    for age, name in enumerate("edcba"):
        path = tmp_path / name
        path.write_bytes(b"x" * 100)
        os.utime(path, (age, age))
    make_room(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    make_room(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_a_placeholder_is_well_formed_whatever_the_reason(reason):
    ET.fromstring(placeholder(reason))
