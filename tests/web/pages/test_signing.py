import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_backend.web.pages.signing import Signer


@given(st.text(), st.text())
def test_a_text_comes_back_for_its_purpose_from_every_process_with_the_secret(purpose, text):
    signed = Signer("secret").sign(purpose, text)
    assert Signer("secret").read(purpose, signed, seconds=60) == text


@given(st.text())
def test_it_comes_back_for_nothing_else(text):
    signer = Signer("secret")
    signed = signer.sign("form", text, now=1000)
    assert signer.read("flash", signed, seconds=60, now=1000) is None
    assert Signer("other").read("form", signed, seconds=60, now=1000) is None
    assert signer.read("form", signed, seconds=60, now=1061) is None
    assert signer.read("form", signed, seconds=60, now=1060) == text
    assert signer.read("form", signed, seconds=60, now=800) is None  # by a clock that was wrong


@given(st.text(), st.data())
def test_a_change_of_any_character_is_noticed(text, data):
    signer = Signer("secret")
    signed = signer.sign("form", text)
    place = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda one: one != signed[place]))
    assert signer.read("form", signed[:place] + other + signed[place + 1 :], seconds=60) is None


@pytest.mark.parametrize("signed", ["", ".", "..", "a.b.c", "1.e30=.x", "é"])
def test_what_was_never_signed_is_no_fault(signed):
    assert Signer("secret").read("form", signed, seconds=60) is None
