"""TIFF files of every depth, layout and colour look as their samples say, or are refused by name."""

import hashlib
import io
import itertools
import struct

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders import tiff_page
from clinical_backend.images.decoders.decoding import count_images, decode
from clinical_backend.images.decoders.tiff_page import directories
from clinical_backend.study import FilePage
from tests.images.decoders.tiffs import tiff

ROWS, COLUMNS = 40, 36  # neither a multiple of a tile's side
_ramp = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) / (ROWS * COLUMNS - 1)
RAMP = _ramp  # from black to white
COLOURS = np.stack([_ramp, 1 - _ramp, np.tile(np.linspace(0, 1, COLUMNS), (ROWS, 1))], axis=-1)
OPACITY = np.where(np.arange(COLUMNS) < 18, 1.0, 0.25) * np.ones((ROWS, 1))
LAYOUTS = {
    "one strip": {},
    "strips": {"rows_per_strip": 7},
    "tiles": {"tile": (16, 32)},
    "deflated": {"deflate": True},
    "predicted": {"deflate": True, "predictor": 2},
    "predicted tiles": {"deflate": True, "predictor": 2, "tile": (16, 32)},
}


def stored(shares, kind):
    """Return shares of white as samples that fill their type's range."""
    kind = np.dtype(kind)
    if kind.kind == "f":
        return shares.astype(kind)
    low, high = (float(limit) for limit in (np.iinfo(kind).min, np.iinfo(kind).max))
    most = high if kind.itemsize < 8 else np.nextafter(high, low)  # the largest float that such an integer can be
    return np.clip(np.rint(low + shares * (high - low)), low, most).astype(kind)


def off(data, shares):
    """Return by how many levels an image differs at most from shares of white."""
    shares = shares if shares.ndim == 3 else shares[..., None]
    return float(np.abs(np.asarray(decode(data)).astype(float) - 255 * shares).max())


def forms(kinds):
    """Return every type in every layout and byte order."""
    made = []
    for kind, order, (name, layout) in itertools.product(kinds, "<>", LAYOUTS.items()):
        predictor = {"predictor": 3} if kind.startswith("f") and "predictor" in layout else {}
        made.append(pytest.param(kind, layout | predictor | {"order": order}, id=f"{kind}-{order}-{name}"))
    return made


@pytest.mark.parametrize(("kind", "layout"), forms(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]))
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_of_every_depth_rises_from_black_to_white(kind, layout, white_is_zero):
    shown = 1 - RAMP if white_is_zero else RAMP
    assert off(tiff(stored(RAMP, kind), photometric=int(not white_is_zero), **layout), shown) <= 1


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("kind", "layout"), forms(["u1", "i1", "u2", "i2", "u4", "f2", "f4", "f8"]))
def test_colour_of_every_depth_is_the_same_in_planes_and_side_by_side(kind, layout, planar):
    assert off(tiff(stored(COLOURS, kind), planar=planar, **layout), COLOURS) <= 1


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 10, 12, 14])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("layout", [{}, {"order": ">"}, {"tile": (16, 32)}, {"deflate": True}])
def test_samples_that_fill_no_bytes_are_unpacked(bits, white_is_zero, layout):
    values = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)
    shown = values / (2**bits - 1)
    data = tiff(values, bits=bits, photometric=int(not white_is_zero), **layout)
    assert off(data, 1 - shown if white_is_zero else shown) <= 1


@pytest.mark.parametrize("bits", [4, 12])
@pytest.mark.parametrize("planar", [False, True])
def test_colours_that_fill_no_bytes_are_unpacked(bits, planar):
    values = np.rint(COLOURS * (2**bits - 1)).astype(np.uint16)
    assert off(tiff(values, bits=bits, planar=planar), values / (2**bits - 1)) <= 1


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
@pytest.mark.parametrize(("meaning", "shown"), [(0, COLOURS), (1, COLOURS), (2, COLOURS * OPACITY[..., None])])
def test_colour_with_a_fourth_sample_is_shown_by_what_that_means(kind, meaning, shown, planar):
    samples = np.concatenate([COLOURS, OPACITY[..., None]], axis=-1)
    assert off(tiff(stored(samples, kind), planar=planar, tag338=(meaning,)), shown) <= 2


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
def test_grey_with_opacity_is_laid_on_black_at_its_full_depth(kind, planar):
    samples = np.stack([RAMP / 16 if kind != "u1" else RAMP, OPACITY], axis=-1)
    assert off(tiff(stored(samples, kind), photometric=1, planar=planar, tag338=(2,)), RAMP * OPACITY) <= 2


def test_what_is_transparent_does_not_count_in_the_range_of_grey():
    values = np.array([[[100, 65535], [200, 65535], [60000, 0]]], dtype=np.uint16)
    assert np.asarray(decode(tiff(values, photometric=1, tag338=(2,))))[0, :, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(("values", "kind"), [(4e9, "u4"), (2e9, "i4"), (1e12, "i8"), (1e9, "f8")])
def test_a_narrow_range_of_large_values_keeps_its_steps(values, kind):
    assert off(tiff((values + np.rint(RAMP * 200)).astype(kind)), np.rint(RAMP * 200) / 200) <= 1


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("planar", [False, True])
def test_inks_are_subtracted_from_white(kind, planar):
    inks = np.concatenate([COLOURS, 0.3 * RAMP[..., None]], axis=-1)
    shown = (1 - inks[..., :3]) * (1 - inks[..., 3:])
    assert off(tiff(stored(inks, kind), photometric=5, planar=planar), shown) <= 3


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_neutral_lab_is_grey_and_its_axes_have_a_sign(kind):
    # L* 0, 50 and 100 without colour; then a* and b* of +40 and −40 at L* 50, as sRGB from D50
    signed = np.array([[[0, 0, 0], [128, 0, 0], [255, 0, 0], [128, 40, 0], [128, -40, 0], [128, 0, 40], [128, 0, -40]]])
    values = ((signed & 255) << (8 if kind == "u2" else 0)).astype(kind)
    black, grey, white, red, green, yellow, blue = np.asarray(decode(tiff(values, photometric=8)))[0].astype(int)
    assert black.max() <= 1
    assert white.min() >= 250
    assert np.ptp(grey) <= 2
    assert 117 <= grey[0] <= 122
    assert red[0] > grey[0] + 30 > red[1] + 30
    assert green[1] > green[0] + 30
    assert yellow[2] < grey[2] - 30
    assert blue[2] > grey[2] + 30


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize("unit", [1, 257], ids=["8-bit entries", "16-bit entries"])
@pytest.mark.parametrize("order", "<>")
def test_a_palette_of_every_length_is_looked_up(bits, unit, order):
    colours = np.random.default_rng(bits).integers(0, 256, (2**bits, 3))
    colours[-1] = 255
    values = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 97 % 2**bits).astype(np.uint16)
    values = values.astype(np.uint8) if bits <= 8 else values
    table = tuple((colours.T.ravel() * unit).tolist())
    assert off(tiff(values, bits=bits, photometric=3, tag320=table, order=order), colours[values] / 255) == 0


def test_a_palette_that_is_too_short_is_read_if_no_pixel_misses_it():
    table = (0, 65535, 0, 65535, 0, 0)
    assert np.asarray(decode(tiff(np.array([[0, 1]], np.uint8), photometric=3, tag320=table)))[0].tolist() == [
        [0, 0, 0],
        [255, 255, 0],
    ]
    with pytest.raises(ImageError, match="palette with fewer colours"):
        decode(tiff(np.array([[0, 2]], np.uint8), photometric=3, tag320=table))


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
@pytest.mark.parametrize("deflate", [False, True])
def test_ycbcr_is_converted_where_chroma_has_fewer_samples_too(subsampling, deflate):
    side = subsampling[0]
    blocks = np.zeros((8 // side, 8 // side, side * side + 2), np.uint8)
    blocks[...] = [76] * side * side + [85, 255]  # red
    size = {"tag256": (8,), "tag257": (8,), "tag278": (8,)}
    samples = {"tag258": (8, 8, 8), "tag277": (3,), "tag339": (1, 1, 1), "tag530": subsampling}
    data = tiff(blocks.reshape(1, -1), photometric=6, deflate=deflate, **size, **samples)
    assert np.abs(np.asarray(decode(data)).astype(int) - [254, 0, 0]).max() <= 2


@pytest.mark.parametrize(
    ("mode", "compression"),
    [("1", "group3"), ("1", "group4"), ("L", "jpeg")]
    + [(mode, name) for mode in ("1", "L") for name in ("tiff_lzw", "packbits", "zstd", "lzma")],
)
def test_every_compression_that_is_read_gives_the_picture_back(mode, compression):
    picture = Image.fromarray((RAMP * 255).astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    picture.save(file, "TIFF", compression=compression)
    assert off(file.getvalue(), np.asarray(picture.convert("L")) / 255) <= 3


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_bigtiff_is_read(planar, order):
    assert off(tiff(stored(COLOURS, "u2"), big=True, planar=planar, order=order), COLOURS) <= 1


@pytest.mark.parametrize("values", [RAMP, COLOURS], ids=["grey", "colour"])
def test_without_a_photometric_tag_black_is_zero(values):
    assert off(tiff(stored(values, "u1"), tag262=()), values) <= 1


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("layout", [{}, {"order": ">"}, {"tile": (16, 32)}, {"deflate": True}])
def test_the_lowest_bit_may_come_first(kind, layout):
    data = tiff(stored(RAMP, kind), **layout)
    (start,) = struct.unpack_from(layout.get("order", "<") + "I", data, 4)
    reversed_bits = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    directory = tiff(stored(RAMP, kind), tag266=(2,), **layout)[start:]
    assert off(data[:8] + data[8:start].translate(reversed_bits) + directory, RAMP) <= 1


@pytest.mark.parametrize("planar", [False, True])
def test_deep_colour_is_turned_upright(planar):
    assert off(tiff(stored(COLOURS, "u2"), planar=planar, tag274=(6,)), np.rot90(COLOURS, -1)) <= 1


@pytest.mark.parametrize(
    ("values", "tags", "name"),
    [
        (np.zeros((4, 4, 5), "u2"), {"photometric": 1, "tag338": (0, 0)}, "5 channels, not 1"),
        (np.zeros((4, 4, 2), "u1"), {"photometric": 1}, "2 channels, not 1"),
        (np.zeros((4, 4, 3), "u1"), {"tag258": (5, 6, 5)}, "channels of different depths"),
        (np.zeros((4, 4), "u8"), {"tag339": (6,)}, "complex samples of 64 bits"),
        (np.zeros((4, 4), "u1"), {"tag259": (34887,)}, "compressed with LERC"),
        (np.zeros((4, 4), "u1"), {"tag259": (33005,)}, "compressed with JPEG 2000"),
        (np.zeros((4, 4), "u1"), {"tag259": (50001,)}, "compressed with WebP"),
        (np.zeros((4, 4), "u1"), {"tag259": (4711,)}, "the unknown method 4711"),
        (np.zeros((4, 4), "u2"), {"photometric": 32844}, "LogL"),
        (np.zeros((4, 4, 3), "f4"), {"photometric": 32845}, "LogLuv"),
        (np.zeros((4, 4, 3), "u1"), {"photometric": 10}, "ITU L"),
        (np.zeros((4, 4), "u2"), {"photometric": 32803}, "colour filter array"),
        (np.zeros((4, 4, 3), "u2"), {"photometric": 6}, "16 bits of YCbCr"),
        (np.zeros((4, 4, 4), "u1"), {"photometric": 6, "tag338": (0,)}, "8 bits of YCbCr and 1 more channels"),
        (np.zeros((4, 4, 4), "u1"), {"photometric": 8, "tag259": (7,), "tag338": (0,)}, "L.a.b. .* compressed as JPEG"),
        (np.zeros((4, 4, 4), "u1"), {"photometric": 5, "tag259": (6,)}, "CMYK compressed as JPEG in the old way"),
        (np.zeros((4, 4, 4), "u1"), {"photometric": 5, "tag332": (2,)}, "inks other than"),
        (np.zeros((4, 4), "u1"), {"tag32997": (9,)}, "is a volume"),
        (np.zeros((4, 4), "u1"), {"tag50706": (1,)}, "camera's raw file"),
    ],
)
def test_what_is_not_read_is_refused_by_its_name_and_with_a_cure(values, tags, name):
    with pytest.raises(ImageError, match=name) as refusal:
        decode(tiff(values, **tags))
    assert "not an image" not in refusal.value.problem
    assert "as PNG" in refusal.value.cure


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("layout", [*LAYOUTS.values(), {"tag279": ()}, {"deflate": True, "tag279": ()}])
def test_what_is_cut_off_is_refused(share, kind, layout):
    noise = np.random.default_rng(0).integers(0, 200, (48, 48, 3)).astype(kind)
    if kind == "f4" and "predictor" in layout:
        layout = layout | {"predictor": 3}
    data = tiff(noise, **layout)
    body = data[8 : struct.unpack_from("<I", data, 4)[0]]
    kept = int(len(body) * share)
    directory_first = tiff_with_directory_first(data, body)
    assert np.array_equal(np.asarray(decode(directory_first)), np.asarray(decode(data)))
    with pytest.raises(ImageError):
        decode(directory_first[: len(directory_first) - len(body) + kept])


@pytest.mark.parametrize("compression", ["jpeg", "group4"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_jpeg_and_fax_that_are_cut_off_are_refused(compression, share):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert("1" if compression == "group4" else "RGB").save(
        file, "TIFF", compression=compression
    )
    data = file.getvalue()
    body = data[8 : struct.unpack_from("<I", data, 4)[0]]
    directory_first = tiff_with_directory_first(data, body)
    assert np.array_equal(decode(directory_first), decode(data))
    with pytest.raises(ImageError):
        decode(directory_first[: len(directory_first) - len(body) + int(len(body) * share)])


def tiff_with_directory_first(data, body):
    """Move the pixels behind the directory, so that a file which is cut off lacks only pixels."""
    (start,) = struct.unpack_from("<I", data, 4)
    rest = bytearray(data[start:])
    shift = len(rest)
    (count,) = struct.unpack_from("<H", rest)
    for at in range(2, 2 + 12 * count, 12):
        tag, kind, length, value = struct.unpack_from("<HHII", rest, at)
        if length * {3: 2, 4: 4, 5: 8}.get(kind, 1) > 4:
            value += 8 - start
            struct.pack_into("<I", rest, at + 8, value)
            places = range(value - 8, value - 8 + 4 * length, 4)
        else:
            places = [at + 8]
        if tag in {273, 324}:
            for place in places:
                struct.pack_into("<I", rest, place, struct.unpack_from("<I", rest, place)[0] + shift)
    return data[:4] + struct.pack("<I", 8) + bytes(rest) + body


def test_samples_that_take_too_much_memory_are_refused_undecoded():
    huge = tiff(np.zeros((2, 2, 4), "f8"), photometric=2, tag256=(8192,), tag257=(8192,), tag278=(8192,))
    with pytest.raises(ImageError, match="samples of the TIFF image take more than 512 MiB"):
        decode(huge)
    with pytest.raises(ImageError, match="more than 64 million pixels"):
        decode(tiff(np.zeros((2, 2), "u1"), tag256=(60000,), tag257=(60000,)))


def pages(*images, **options):
    file = io.BytesIO()
    images[0].save(file, "TIFF", save_all=True, append_images=list(images[1:]), **options)
    return file.getvalue()


GREYS = [Image.new("RGB", (16, 12), (level,) * 3) for level in (10, 90, 200)]


@pytest.mark.parametrize("options", [{}, {"compression": "jpeg"}, {"compression": "tiff_lzw"}])
def test_each_page_of_a_stack_is_read_by_its_number_and_the_first_without_one(options):
    data = pages(*GREYS, **options)
    assert count_images(data) == 3
    found = [int(np.asarray(decode(data, frame=number)).mean()) for number in range(3)]
    assert np.allclose(found, [10, 90, 200], atol=2)
    assert np.array_equal(decode(data), decode(data, frame=0))
    digest = hashlib.sha256(data).hexdigest()
    assert np.array_equal(decode(FilePage.of(data, digest, 2)), decode(data, frame=2))
    with pytest.raises(ImageError, match="has 3 pages, and not number 4"):
        decode(data, frame=3)


def test_levels_of_a_pyramid_thumbnails_and_pages_of_another_size_are_no_images_of_a_stack():
    smaller = Image.new("RGB", (8, 6))
    assert count_images(pages(GREYS[0], smaller, GREYS[1], smaller)) == 2
    data = pages(GREYS[0], smaller, GREYS[1])
    assert int(np.asarray(decode(data, frame=1)).mean()) == 90
    assert count_images(tiff(np.zeros((4, 4), dtype=np.uint8))) == 1


def test_a_page_that_says_that_it_is_a_smaller_version_is_none_of_a_stack():
    data = bytearray(pages(*GREYS, tiffinfo={254: 0}))
    _, second, _ = [offset for _, offset in directories(bytes(data))]
    place = data.index((254).to_bytes(2, "little"), second) + 8
    data[place] = 1
    assert count_images(bytes(data)) == 2
    assert int(np.asarray(decode(bytes(data), frame=1)).mean()) == 200


@pytest.mark.parametrize("damage", ["cut", "loop", "beyond"])
def test_a_chain_of_pages_ends_where_it_is_damaged(damage):
    data = pages(*GREYS)
    offsets = [offset for _, offset in directories(data)]
    entries = int.from_bytes(data[offsets[1] : offsets[1] + 2], "little")
    link = offsets[1] + 2 + 12 * entries
    after = {"cut": data[: offsets[2] + 1], "loop": offsets[0].to_bytes(4, "little"), "beyond": b"\xff\xff\xff\x7f"}
    broken = after["cut"] if damage == "cut" else data[:link] + after[damage] + data[link + 4 :]
    assert count_images(broken) == 2
    assert count_images(data[:6]) == 1


def test_of_a_file_with_more_pages_than_are_looked_at_these_are_counted(monkeypatch):
    monkeypatch.setattr(tiff_page, "MOST_PAGES", 2)
    assert count_images(pages(*GREYS)) == 2


def test_a_directory_that_repeats_the_size_of_its_page_ends_the_chain():
    data = bytearray(pages(*GREYS))
    _, second, _ = [offset for _, offset in directories(bytes(data))]
    place = data.index((256).to_bytes(2, "little"), second) + 4  # how many widths it names
    data[place : place + 4] = (100).to_bytes(4, "little")
    assert len(directories(bytes(data))) == 1
