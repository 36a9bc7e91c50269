"""Requests: what is repeated, and which error comes of which answer."""

from __future__ import annotations

import httpx2
import pytest

from clinical_backend.errors import (
    InvalidArgumentError,
    LabelStudioRefusedError,
    LabelStudioUnauthorizedError,
    LabelStudioUnavailableError,
)
from clinical_backend.labelstudio.client import LabelStudioClient
from clinical_backend.labelstudio.session import Session

TOKEN = "0123456789abcdef0123456789abcdef01234567"


class Script:
    """Gives prepared answers one after the other, the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, type):
            raise answer("a failure that names nothing", request=request)
        return answer


def session(script, url="http://labels.example", waits=None):
    sleep = (waits if waits is not None else []).append
    return Session(url, TOKEN, transport=httpx2.MockTransport(script), sleep=sleep)


def ok(value=None):
    return httpx2.Response(200, json={"value": value})


@pytest.mark.parametrize("failure", [httpx2.ConnectError, httpx2.ReadTimeout, httpx2.RemoteProtocolError])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_what_does_no_harm_is_repeated(method, failure):
    script, waits = Script(failure, httpx2.Response(503), ok(1)), []
    with session(script, waits=waits) as connection:
        assert connection.request(method, "x") == {"value": 1}
    assert len(script.requests) == 3
    assert waits == sorted(waits)
    assert len(waits) == 2


def test_a_locked_database_is_waited_for():
    with session(Script(httpx2.Response(500, text="database is locked"), ok(1))) as connection:
        assert connection.request("PATCH", "x") == {"value": 1}


@pytest.mark.parametrize("failure", [httpx2.ReadTimeout, httpx2.WriteError])
def test_a_post_that_may_have_arrived_is_not_repeated(failure):
    script = Script(failure, ok())
    with session(script) as connection, pytest.raises(LabelStudioUnavailableError):
        connection.request("POST", "x", json={})
    assert len(script.requests) == 1


def test_a_post_that_never_arrived_is_repeated():
    with session(Script(httpx2.ConnectError, ok(1))) as connection:
        assert connection.request("POST", "x", json={}) == {"value": 1}


def test_a_post_that_is_said_to_be_harmless_is_repeated():
    with session(Script(httpx2.Response(502), ok(1))) as connection:
        assert connection.request("POST", "x", json={}, repeatable=True) == {"value": 1}


@pytest.mark.parametrize("answer", [httpx2.ConnectError, httpx2.Response(502), httpx2.Response(429)])
def test_after_a_few_attempts_it_is_unavailable(answer):
    script, waits = Script(answer), []
    with session(script, waits=waits) as connection, pytest.raises(LabelStudioUnavailableError) as failure:
        connection.request("GET", "x")
    assert len(script.requests) == len(waits) + 1 == 4
    assert "LABEL_STUDIO_URL" in failure.value.cure


@pytest.mark.parametrize(("named", "longest"), [("3", 3.0), ("86400", 10.0), ("Mon, 01 Jan", 0.25)])
def test_the_servers_own_waiting_time_counts_within_bounds(named, longest):
    waits = []
    with session(Script(httpx2.Response(429, headers={"Retry-After": named}), ok()), waits=waits) as connection:
        connection.request("GET", "x")
    assert waits == [longest]


def test_a_refusal_gives_its_reason_short_and_without_markup():
    body = {
        "detail": "x",
        "validation_errors": {"url": [f"<a href='y'>Learn  more</a> {TOKEN} {'z' * 1000}"]},
    }
    with (
        session(Script(httpx2.Response(400, json=body))) as connection,
        pytest.raises(LabelStudioRefusedError, match="Learn more") as refusal,
    ):
        connection.request("POST", "api/ml", json={})
    message = str(refusal.value)
    assert "<a" not in message
    assert TOKEN not in message
    assert len(message) < 600
    assert refusal.value.status == 400


@pytest.mark.parametrize("body", ["", "<html>an error</html>", "[]", "null", '["not a dictionary"]'])
def test_a_refusal_in_any_form_is_understood(body):
    with (
        session(Script(httpx2.Response(409, text=body))) as connection,
        pytest.raises(LabelStudioRefusedError, match="409"),
    ):
        connection.request("GET", "x")


def test_a_401_is_a_matter_of_the_token():
    with (
        session(Script(httpx2.Response(401, json={"detail": "Invalid token."}))) as connection,
        pytest.raises(LabelStudioUnauthorizedError, match="legacy") as refusal,
    ):
        connection.request("GET", "x")
    assert TOKEN not in str(refusal.value)


def test_a_page_that_is_no_json_is_another_server():
    with (
        session(Script(httpx2.Response(200, text="<html>welcome</html>"))) as connection,
        pytest.raises(LabelStudioRefusedError, match="not Label Studio"),
    ):
        connection.request("GET", "x")


def test_an_empty_answer_is_none():
    with session(Script(httpx2.Response(204))) as connection:
        assert connection.request("DELETE", "x") is None


@pytest.mark.parametrize("url", ["http://labels.example/sub", "http://labels.example/sub/"])
def test_a_sub_path_is_kept(url):
    script = Script(ok())
    with session(script, url) as connection:
        connection.request("GET", "/api/version/")
        assert connection.url == "http://labels.example/sub"
    assert script.requests[0].url == "http://labels.example/sub/api/version/"


@pytest.mark.parametrize("url", ["", "labels.example", "ftp://labels.example", "http://", "http://u:p@labels.example"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InvalidArgumentError, match="LABEL_STUDIO_URL"):
        Session(url, TOKEN)


def test_an_answer_of_another_form_is_refused_with_the_fields():
    transport = httpx2.MockTransport(Script(httpx2.Response(200, json={"id": "not a number"})))
    with (
        LabelStudioClient("http://labels.example", TOKEN, transport=transport) as client,
        pytest.raises(LabelStudioRefusedError, match="created_at, id"),
    ):
        client.project(1)
