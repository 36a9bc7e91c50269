"""Every image becomes upright 8-bit RGB, or a clear refusal."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clinical_backend.errors import ImageError
from clinical_backend.images.decoders.decoding import decode

# Pillow warns of what it skips in a damaged file; the image, or our refusal, is what counts here.
damaged = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def picture():
    ramp = np.arange(24 * 16 * 3, dtype=np.uint32).reshape(24, 16, 3) % 251
    return Image.fromarray(ramp.astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_keep_every_pixel(picture, kind):
    assert np.array_equal(decode(encoded(picture, kind)), picture)


def test_lossless_webp_keeps_every_pixel(picture):
    assert np.array_equal(decode(encoded(picture, "WEBP", lossless=True)), picture)


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_give_rgb_of_the_same_size(picture, kind):
    image = decode(encoded(picture, kind))
    assert (image.mode, image.size) == ("RGB", picture.size)


def test_a_camera_jpeg_with_several_pictures_gives_the_first():
    first, second = Image.new("RGB", (8, 8), (200, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 200))
    red, _, blue = decode(encoded(first, "MPO", save_all=True, append_images=[second])).getpixel((4, 4))
    assert red > 150 > blue


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    data = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "CMYK"])
def test_other_colour_modes_become_rgb(picture, mode):
    image = decode(encoded(picture.convert(mode), "TIFF"))
    assert (image.mode, image.size) == ("RGB", picture.size)


def test_a_palette_is_looked_up():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert np.asarray(decode(encoded(image))).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_cmyk_without_ink_is_white():
    assert decode(encoded(Image.new("CMYK", (2, 2)), "TIFF")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_laid_on_black(mode):
    image = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    image.putpixel((1, 0), (255, 255, 255, 255))
    assert np.asarray(decode(encoded(image.convert(mode)))).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_a_transparent_palette_entry_is_laid_on_black():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 255, 255, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert decode(encoded(image, transparency=0)).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_fills_the_range_between_its_percentiles(kind):
    values = np.linspace(1000, 3000, 100 * 100).astype(np.uint16).reshape(100, 100)
    values[0, 0], values[-1, -1] = 0, 65535  # single hot and dead pixels decide nothing
    levels = np.asarray(decode(encoded(Image.fromarray(values), kind)))[..., 0]
    assert levels[0, 0] == levels[0, 1] == 0
    assert levels[-1, -1] == levels[-1, -2] == 255
    assert abs(int(levels[50, 0]) - 128) <= 1
    assert np.all(np.diff(levels.ravel()[1:-1].astype(int)) >= 0)


def test_a_constant_16_bit_image_is_black():
    image = Image.fromarray(np.full((4, 4), 700, dtype=np.uint16))
    assert not np.asarray(decode(encoded(image))).any()


def test_16_bit_grey_with_one_bright_pixel_keeps_it():
    values = np.zeros((100, 100), dtype=np.uint16)
    values[3, 4] = 900
    assert np.asarray(decode(encoded(Image.fromarray(values))))[3, 4].tolist() == [255, 255, 255]


def test_float_images_are_scaled_and_their_gaps_are_dark():
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    values[0, 0], values[7, 7] = np.nan, np.inf
    levels = np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))[..., 0]
    assert (levels[0, 0], levels[7, 7]) == (0, 255)


def test_a_float_image_of_the_widest_range_is_scaled():
    values = np.array([[-3.4e38, -1.7e38, -1.7e38, 3.4e38]], dtype=np.float32)
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [0, 64, 64, 255]


def test_a_float_image_without_a_number_is_refused():
    image = Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32))
    with pytest.raises(ImageError, match="damaged or of an unusual kind"):
        decode(encoded(image, "TIFF"))


def test_a_16_bit_tiff_in_which_white_is_zero_is_turned_over():
    values = np.array([[0, 1000, 2000, 3000]], dtype=np.uint16)
    data = encoded(Image.fromarray(values), "TIFF")
    entry = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation
    at = data.index(entry) + len(entry)
    white_is_zero = data[:at] + struct.pack("<H", 0) + data[at + 2 :]
    assert np.asarray(decode(white_is_zero))[0, :, 0].tolist() == [255, 170, 85, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    stored = Image.fromarray(np.array([[10, 20], [30, 40], [50, 60]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: [[10, 20], [30, 40], [50, 60]],
        2: [[20, 10], [40, 30], [60, 50]],
        3: [[60, 50], [40, 30], [20, 10]],
        4: [[50, 60], [30, 40], [10, 20]],
        5: [[10, 30, 50], [20, 40, 60]],
        6: [[50, 30, 10], [60, 40, 20]],
        7: [[60, 40, 20], [50, 30, 10]],
        8: [[20, 40, 60], [10, 30, 50]],
    }
    for kind in ("PNG", "TIFF"):
        pixels = np.asarray(decode(encoded(stored, kind, exif=exif)))[..., 0]
        assert pixels.tolist() == upright[orientation], kind


@damaged
def test_a_broken_exif_block_does_not_hide_the_image(picture):
    data = encoded(picture, "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff broken")
    assert np.array_equal(decode(data), picture)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused(kind, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * share)])


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded():
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="more than 64 million pixels"):
        decode(bomb)


def test_the_pixel_limit_can_be_set(picture):
    with pytest.raises(ImageError, match="pixels"):
        decode(encoded(picture), pixel_limit=24 * 16 - 1)
    assert decode(encoded(picture), pixel_limit=24 * 16).size == picture.size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"<html>sign in</html>", "The file is a web page, which is not read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript document"),
        (b"no pixels at all", "not an image, or of a form that is not known"),
    ],
)
def test_what_is_no_image_is_refused_with_a_cure(data, message):
    with pytest.raises(ImageError, match=message) as refusal:
        decode(data)
    assert refusal.value.cure


def with_frame(marker, bits):
    """Return a JPEG whose frame header claims another process, and so many bits per sample."""
    data = encoded(Image.new("L", (8, 8)), "JPEG")
    return data.replace(b"\xff\xc0\0\x0b\x08", b"\xff" + bytes([marker]) + b"\0\x0b" + bytes([bits]))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<?xml version='1.0'?><Error/>", "an XML text"),
        (b'{"detail": "no"}', "a JSON text"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x1cftypheix\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"II\xbc\x01\x08\0\0\0", "a JPEG XR image"),
        (b"<?xml version='1.0'?><!-- drawn --><svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!-- saved --><html>", "a web page"),
        (b"\x5c\x01\0\0" + bytes(344), "a NIfTI volume"),
        (bytes(4096), "nothing but zeros"),
        (b"a.png" + bytes(252) + b"ustar", "a tar archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "the pointer of Git LFS"),
        (b"-----BEGIN PGP MESSAGE-----\n", "encrypted with PGP"),
        (b"Salted__12345678", "encrypted with OpenSSL"),
        (b"P5\n8 8\n255\n" + bytes(64), "graymap"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x1cftypisom\0\0\0\0", "a video"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"PK\x03\x04", "a ZIP archive"),
        (with_frame(0xC1, 12), "a JPEG with 12 bits per sample"),
        (with_frame(0xC3, 16), "a lossless JPEG"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(data, kind):
    with pytest.raises(ImageError, match=f"The file is .*({kind}).*, which is not read"):
        decode(data)


@pytest.mark.parametrize("data", [b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0"])
def test_a_damaged_image_is_not_called_another_file(data):
    with pytest.raises(ImageError, match="damaged"):
        decode(data)


@damaged
def test_damaged_bytes_never_raise_anything_but_an_image_error():
    random = np.random.default_rng(7)
    noise = Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    grey = Image.fromarray(random.integers(0, 65536, (24, 24), dtype=np.uint16))
    refused = 0
    for original in (encoded(noise, kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")):
        refused += refusals(original, random)
    refused += refusals(encoded(grey, "TIFF"), random)
    assert refused > 50


def refusals(original, random, times=60):
    refused = 0
    for _ in range(times):
        data = bytearray(original)
        for at in random.integers(0, min(len(data), 200), 4):
            data[at] = random.integers(256)
        try:
            decode(bytes(data), pixel_limit=2**20)
        except ImageError:
            refused += 1
    return refused
