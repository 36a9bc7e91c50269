"""What readers and importers write, in reports: bounded, on one line, and fit for every file and screen."""

import csv
import io
import json
from collections import Counter

import pytest

from clinical_backend.labelstudio.labeling.labels import read_labels
from clinical_backend.labelstudio.labeling.scheme import read_scheme
from clinical_backend.labelstudio.resources import AnnotatedTask, Annotation
from clinical_backend.text import amount, counted, csv_row, printable, read_json, storable, storable_json
from tests.conftest import label_config

HOSTILE = [
    "x" * 1_000_000,
    "\ud800",
    "a\x00b",
    "line\nanother\r\nthird",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe",
    "\u2028\u2029\u0085",
    "\U000e0041" * 100,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_is_short_on_one_line_and_can_be_written_anywhere(text):
    line = printable(text)
    assert len(line) <= 60
    assert line.isprintable()
    assert line.encode()


@pytest.mark.parametrize("text", ["", "rare finding", "naïve ‘Größe’ 細胞", "x" * 60])
def test_ordinary_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("count", "things", "sentence"),
    [
        (0, "0 images", "0 entries are"),
        (1, "1 image", "1 entry is"),
        (2, "2 images", "2 entries are"),
        (12_000, "12,000 images", "12,000 entries are"),
    ],
)
def test_a_number_of_things_agrees_with_its_noun_and_verb(count, things, sentence):
    assert amount(count, "image") == things
    assert amount(count, "entry is", "entries are") == sentence


def test_of_many_names_the_most_frequent_are_shown_and_the_rest_counted():
    text = counted(Counter({f"class {number}": number + 1 for number in range(10_000)}))
    assert text.startswith("'class 9999' (10000), 'class 9998' (9999), ")
    assert text.endswith(", and 9990 more")


def test_classes_that_readers_invent_are_bounded_in_what_is_told_of_them():
    def annotated(number, choices):
        region = {"from_name": "diagnosis", "value": {"choices": choices}}
        return AnnotatedTask(id=number, annotations=[Annotation(id=number, result=[region])])

    invented = [[f"{number} {text}"] for number in range(300) for text in HOSTILE[1:]]
    invented += [[HOSTILE[0]], HOSTILE, [f"{number}" for number in range(10_000)]]
    labels = read_labels(
        read_scheme(label_config(), "exemplar"), [annotated(number, names) for number, names in enumerate(invented)]
    )
    (message,) = labels.messages
    assert len(message) < 1500
    assert message.isprintable()
    assert json.loads(json.dumps(message).encode()) == message
    assert max(len(name) for name in labels.unknown_classes) <= 60


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


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+49 170", "-2+cmd", "\t=1+1", "\r\n=1+1", "-5\n=1"])
def test_what_a_spreadsheet_takes_for_a_formula_has_an_apostrophe_before_it(text):
    assert next(csv.reader(io.StringIO(csv_row([text, "b"]), newline=""))) == [f"'{text}", "b"]


@pytest.mark.parametrize("text", ["-", "+", "-5", "+0.25", "a=b", "", 'a, "b"', "a\rb", "a\nb", "\r"])
def test_other_cells_are_read_back_as_they_are_whatever_ends_a_line(text):
    row = csv_row([text, "b"])
    assert next(csv.reader(io.StringIO(row, newline=""))) == [text, "b"]
    assert ("\r" in text or "\n" in text) == row.startswith('"') or '"' in text
