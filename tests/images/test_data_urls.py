"""``data:`` URLs give their content, or a clear refusal."""

import base64

import pytest

from clinical_backend.errors import ImageError
from clinical_backend.images.data_urls import read_data_url

CONTENT = bytes(range(256))
BASE64 = base64.b64encode(CONTENT).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{BASE64}",
        f"data:image/png;BASE64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:image/png;base64,{BASE64.rstrip('=')}",
        f"data:image/png;base64,{BASE64[:40]}\n {BASE64[40:]}",
        "data:image/png;base64," + BASE64.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "data:application/octet-stream," + "".join(f"%{byte:02X}" for byte in CONTENT),
    ],
)
def test_every_spelling_gives_the_same_bytes(uri):
    assert read_data_url(uri, size_limit=256) == CONTENT


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:image/png;base64,A", "not valid base64"),
        (f"data:image/png;base64,{BASE64}", "holds more than"),
        (f"data:image/png;base64,{BASE64 * 40}", "holds more than"),
    ],
)
def test_what_cannot_be_read_is_refused(uri, message):
    with pytest.raises(ImageError, match=message):
        read_data_url(uri, size_limit=255)
