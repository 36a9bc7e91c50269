"""How an archive is reached is checked before it is asked, and shows no secret."""

from __future__ import annotations

import pytest

from clinical_backend.archive.access import ArchiveAccess, access_from
from clinical_backend.archive.exchange import Exchange
from clinical_backend.errors import ArchiveError
from tests.tls import certificate

URL = "http://archive:8042/dicom-web"


@pytest.mark.parametrize("url", [URL, f"{URL}/", f" {URL}// "])
def test_the_root_has_no_slash_at_its_end(url):
    assert str(ArchiveAccess(url).root) == URL


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "archive:8042",
            "ftp://archive/",
            "http://",
            "http://archive:0/",
            "http://archive:99999/",
            "http://[::1/",
        ),
        *(f"{URL}?a=b", f"{URL}#a", "http://me:mine@archive/dicom-web", "file:///etc"),
    ],
)
def test_what_is_no_root_is_refused(url):
    with pytest.raises(ArchiveError) as error:
        ArchiveAccess(url)
    assert "mine" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"user": "me", "password": "mine", "token": "t"},
        {"password": "mine"},
        {"user": "me\n", "password": "mine"},
        {"user": "me:you", "password": "mine"},
        {"token": "t\r\nX: y"},
        {"token": "tö"},
        {"key": "key.pem"},
        {"certificate": "certificate.pem"},
        {"authority": "authority.pem"},
    ],
)
def test_what_contradicts_itself_is_refused(options):
    with pytest.raises(ArchiveError):
        ArchiveAccess(URL, **options)


def test_no_secret_is_shown():
    assert "mine" not in repr(ArchiveAccess(URL, user="me", password="mine"))
    assert "mine" not in repr(ArchiveAccess(URL, token="mine"))


def test_secrets_are_read_from_files(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(" mine ö\n".encode())
    assert access_from(URL, user="me", password_file=file, environment={}).password == " mine ö"
    file.write_text(" token\n")
    assert access_from(URL, token_file=file, environment={}).token == "token"


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"x" * 20_000, b"\xff"])
def test_a_file_that_holds_no_secret_is_refused(tmp_path, content):
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ArchiveError, match="--token-file"):
        access_from(URL, token_file=file, environment={})


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ArchiveError, match="--password-file"):
        access_from(URL, user="me", password_file=tmp_path / "none", environment={})


@pytest.mark.parametrize(
    ("options", "environment", "signs_in"),
    [
        ({}, {"DICOMWEB_USER": "me", "DICOMWEB_PASSWORD": "mine"}, ("me", "mine", "")),
        ({}, {"DICOMWEB_TOKEN": "token\n"}, ("", "", "token")),
        ({"user": "you"}, {"DICOMWEB_USER": "me", "DICOMWEB_PASSWORD": "mine"}, ("you", "mine", "")),
        ({"user": "you"}, {"DICOMWEB_TOKEN": "token"}, ("you", "", "")),
        ({}, {"DICOMWEB_PASSWORD": "mine"}, ("", "", "")),
        ({}, {}, ("", "", "")),
    ],
)
def test_the_environment_fills_what_no_option_gives(options, environment, signs_in):
    access = access_from(URL, **options, environment=environment)
    assert (access.user, access.password, access.token) == signs_in


def test_a_token_of_a_file_goes_before_a_user_of_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text("token")
    environment = {"DICOMWEB_USER": "me", "DICOMWEB_PASSWORD": "mine"}
    assert access_from(URL, token_file=file, environment=environment) == ArchiveAccess(URL, token="token")


@pytest.mark.parametrize("option", ["authority", "certificate"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_certificate_that_cannot_be_used_is_said_at_once(tmp_path, option, content):
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)
    access = ArchiveAccess("https://archive/dicom-web", **{option: file})
    with pytest.raises(ArchiveError, match="cannot be"):
        Exchange(access, parallel=1)


def test_the_key_of_another_certificate_is_refused(tmp_path):
    ours, another = certificate(tmp_path), certificate(tmp_path)
    access = ArchiveAccess("https://archive/dicom-web", certificate=ours, key=another)
    with pytest.raises(ArchiveError, match="--client-key"):
        access.tls()
