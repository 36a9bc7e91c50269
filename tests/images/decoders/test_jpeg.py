"""A JPEG that lacks its end marker alone is read; one that lacks pixels is refused, whatever fills their place."""

import io

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import decode

KINDS = {
    "baseline": ("RGB", {}),
    "progressive": ("RGB", {"progressive": True}),
    "full chroma": ("RGB", {"subsampling": 0}),
    "restart markers": ("RGB", {"restart_marker_rows": 1}),
    "grey": ("L", {}),
    "inks": ("CMYK", {}),
}


def jpeg(kind):
    mode, options = KINDS[kind]
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((192, 144)).convert(mode).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "end", [b"", b"\xff", bytes(3000), b"\xff" + bytes(3000)], ids=["none", "half", "zeros", "both"]
)
def test_without_its_end_marker_every_row_is_there(kind, end):
    data = jpeg(kind)
    assert data.endswith(b"\xff\xd9")
    assert np.array_equal(decode(data[:-2] + end), decode(data))


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_end_marker_is_left_alone(kind):
    assert np.array_equal(decode(jpeg(kind) + b"trailer" * 99), decode(jpeg(kind)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filling", [b"", bytes(9000)], ids=["cut", "zeros"])
def test_without_pixels_it_is_refused(kind, filling):
    data = jpeg(kind)
    start = data.index(b"\xff\xda")
    whole = np.asarray(decode(data))
    for lost in [*range(4, 12), *range(12, len(data) - start, 997)]:
        try:
            pixels = decode(data[:-lost] + filling)
        except ImageError as refusal:
            assert refusal.cure  # noqa: PT017 - most of them are refused, and none may be misread
        else:
            assert np.array_equal(pixels, whole), lost
    with pytest.raises(ImageError, match="The JPEG image is cut off"):
        decode(data[: start + (len(data) - start) // 2] + filling)


def test_a_progressive_image_of_which_whole_scans_are_missing_is_refused():
    data = jpeg("progressive")
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for start in scans[1:]:
        tables = data.rindex(b"\xff\xc4", 0, start)  # the scan's own tables stand before it
        with pytest.raises(ImageError, match="The JPEG image is cut off"):
            decode(data[: max(tables, scans[0] + 20)])
