"""Messages that the next page shows once."""

import pytest
from fastapi import Request, Response

from clinical_backend.web.pages.flash import Flash, keep_flash, read_flash
from clinical_backend.web.pages.signing import Signer


@pytest.mark.parametrize("sign", ["a", "я", "肺", "🫁", '"', "\ud800"])
def test_a_message_of_any_length_and_script_fits_into_a_cookie(sign):
    signer, response = Signer("secret"), Response()
    keep_flash(response, signer, Flash(f"Told: {sign * 5000}", wrong=True, link="/projects/1/queue"), secure=True)
    cookie = response.headers["set-cookie"]
    assert len(cookie) <= 4096
    request = Request({"type": "http", "headers": [(b"cookie", cookie.partition(";")[0].encode())]})
    read = read_flash(request, signer)
    assert read is not None
    assert read.text.startswith("Told: ")
    assert read.text.endswith("…")
    assert (read.wrong, read.link) == (True, "/projects/1/queue")
