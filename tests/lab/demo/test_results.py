from io import StringIO

import pytest
from PIL import Image
from rich.console import Console

from clinical_backend.lab.demo.results import expected_by_random, make_table, save_plot


def shown(table):
    console = Console(file=StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


def test_random_order_finds_its_share():
    assert expected_by_random(60, 600, 20) == pytest.approx(2.0)


def test_the_table_holds_every_tenth_label_beside_random_order():
    text = shown(make_table([[1] * 10 + [4] * 15], pool=100, rare=10))
    rows = [line.replace("│", " ").split() for line in text.splitlines() if "×" in line]
    assert rows == [["10", "1", "1.0", "1.0", "×"], ["20", "4", "2.0", "2.0", "×"]]


def test_several_runs_show_their_mean_and_spread():
    text = shown(make_table([[2] * 10, [4] * 10], pool=100, rare=10))
    assert "3.0 (2 to 4)" in text
    assert "2 runs" in text


@pytest.mark.parametrize("found", [[[0, 1, 1]], [[0, 1, 1], [1, 1, 2]]])
def test_the_plot_is_an_image(tmp_path, found):
    save_plot(found, 30, 5, "drawn cells", tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as image:
        image.verify()
        assert image.format == "PNG"
