"""The resizing in the graph gives the same bytes as Pillow's."""

import numpy as np
import onnx.inliner
import onnx.parser
import pytest
from PIL import Image

from clinical_backend.learner.backbones.exported import open_session
from clinical_backend.learner.backbones.preprocessing import to_fitting_square, to_square
from clinical_backend.learner.portable.letterbox import letterbox_functions

GRAPH = """
<ir_version: 10, opset_import: ["" : 20, "clinical_backend" : 1]>
squares (uint8[height, width, 3] image, int64 size, int64[sizes] sizes) => (uint8[side, side, 3] square, int64 fitting)
{
  square = clinical_backend.letterbox (image, size)
  fitting = clinical_backend.fitting_size (image, sizes)
}
"""


@pytest.fixture(scope="module")
def run():
    model = onnx.parser.parse_model(GRAPH)
    model.functions.extend(letterbox_functions(20))
    session = open_session(onnx.inliner.inline_local_functions(model).SerializeToString(), 1)

    def squares(image, size=48, sizes=(128, 224)):
        return session.run(None, {"image": image, "size": np.array(size), "sizes": np.array(sizes)})

    return squares


def noise(height, width):
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [48, 128, 224])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1), (1, 900), (900, 1), (28, 28), (48, 48), (127, 129), (128, 128), (224, 224), (225, 3),  # enlarged, kept
        (56, 24), (188, 75), (524, 212),  # tall: downwards first
        (672, 672), (673, 672), (1345, 1344), (2003, 1501), (3000, 40), (37, 2999),  # boxes are averaged first
    ],
)  # fmt: skip
def test_a_letterbox_has_the_bytes_of_pillow(run, shape, size):
    image = noise(*shape)
    assert np.array_equal(run(image, size)[0], to_square(image, size))


def test_any_shape_has_the_bytes_of_pillow(run):
    generator = np.random.default_rng(5)
    for height, width in generator.integers(1, 800, (60, 2)).tolist():
        small = Image.fromarray(noise(1 + height // 9, 1 + width // 9))
        image = np.asarray(small.resize((width, height)))  # smooth, as photographs are
        for size in (48, 224):
            assert np.array_equal(run(image, size)[0], to_square(image, size)), (height, width, size)


@pytest.mark.parametrize("shape", [(5, 3), (128, 100), (100, 128), (129, 5), (224, 224), (225, 10), (2000, 10)])
@pytest.mark.parametrize("sizes", [(128, 224), (64,), (32, 64, 100)])
def test_the_square_is_the_one_that_fits(run, shape, sizes):
    image = noise(*shape)
    assert run(image, sizes=sizes)[1] == len(to_fitting_square(image, sizes))
