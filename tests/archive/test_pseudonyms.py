"""What stands for an identifier is always the same, for one key, and does not tell it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from clinical_backend.archive.pseudonyms import Pseudonyms, is_pseudonym


def test_the_same_identifier_has_the_same_pseudonym_also_after_a_restart(tmp_path):
    first = Pseudonyms(tmp_path / "data").of("patient", "4711")
    assert first == Pseudonyms(tmp_path / "data").of("patient", "4711")
    assert len(first) == 20
    assert "4711" not in first


def test_other_identifiers_kinds_and_keys_have_other_ones(tmp_path):
    one, other = Pseudonyms(tmp_path / "one"), Pseudonyms(tmp_path / "other")
    made = [one.of("patient", "1"), one.of("patient", "2"), one.of("study", "1"), other.of("patient", "1")]
    assert len(set(made)) == 4


def test_the_key_is_the_owners_alone(tmp_path):
    Pseudonyms(tmp_path / "data")
    assert (tmp_path / "data" / "pseudonym-key").stat().st_mode & 0o077 == 0


def test_processes_that_start_at_once_agree_on_the_key(tmp_path):
    with ThreadPoolExecutor(8) as starting:
        made = list(starting.map(lambda _: Pseudonyms(tmp_path).of("patient", "1"), range(32)))
    assert len(set(made)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pseudonym-key"]


def test_an_identifier_that_is_no_text_of_unicode_has_one_too(tmp_path):
    assert Pseudonyms(tmp_path).of("patient", "\ud800") != Pseudonyms(tmp_path).of("patient", "\ud801")


def test_a_pseudonym_is_told_from_what_a_project_says_itself(tmp_path):
    assert is_pseudonym(Pseudonyms(tmp_path).of("instance", "1"))
    assert not any(map(is_pseudonym, ("CT", "", "g" * 20, "0" * 21, None, 7, ["0" * 20])))
