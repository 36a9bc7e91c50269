"""What an import passed over is written into a file that others may not read."""

import os

import pytest

from clinical_backend.archive.found import PassedOver
from clinical_backend.commands.passed_over import telling_passed_over


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_report_is_its_users_alone_and_one_that_is_there_keeps_its_rights(tmp_path):
    made, there = tmp_path / "made.csv", tmp_path / "there.csv"
    there.touch(0o640)
    for report in (made, there):
        with telling_passed_over(report) as passed_over:
            passed_over.append(PassedOver("/media/Mustermann Erika/1.dcm", "no image"))
        assert report.read_text().splitlines() == ["file,reason", "/media/Mustermann Erika/1.dcm,no image"]
    assert [oct(report.stat().st_mode & 0o777) for report in (made, there)] == ["0o600", "0o640"]
