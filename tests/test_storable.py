"""Text and JSON that no database could hold, written out."""

from __future__ import annotations

import json

import pytest

from clinical_backend.storable import read_json, storable, storable_json


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"a\ud800b"', r"a\ud800b"),
        (r'"\uDFFF\uD800"', r"\uDFFF\uD800"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\ud83d\ud83d\ude00"', "\\ud83d😀"),
        (r'"\u0000\u0041"', r"\u0000A"),
        (r'"\\ud800"', r"\ud800"),
        (r'"\\\ud800"', r"\\ud800"),
        (r'{"\ud800": [1, {"b": "\udc00"}]}', {r"\ud800": [1, {"b": r"\udc00"}]}),
        ("[" * 900 + r'"\ud800"' + "]" * 900, None),
        (b'\xef\xbb\xbf"a"', "a"),
        (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
        ('"\ud800"', r"\ud800"),
    ],
)
def test_half_characters_and_nul_are_written_out_and_all_else_stays(written, read):
    found = read_json(written)
    assert read is None or found == read
    json.dumps(found, ensure_ascii=False).encode()


def test_what_differs_stays_different():
    assert len({storable(text) for text in ("a\ud800", "a\ud801", "a\0", "a")}) == 4
    assert storable_json({"\ud800": ["\0"]}) == {"\\ud800": ["\\u0000"]}
    plain = {"a": ["ü", 1.5, None, "😀"]}
    assert storable_json(plain) == plain


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Expecting"):
        read_json(b"\xff\xfe\xfd")
