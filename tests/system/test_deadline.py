import time

import pytest

from clinical_backend.errors import ClinicalError, RoundTimeoutError
from clinical_backend.system.deadline import deadline

LATE = RoundTimeoutError("Too late.", "Be quick.")


@pytest.mark.parametrize("handled", [ClinicalError, Exception])
def test_code_that_goes_on_after_errors_is_interrupted_all_the_same(handled):
    went_on = []

    def go_on():
        try:
            time.sleep(60)
        except handled:
            went_on.append(handled)

    with pytest.raises(RoundTimeoutError, match=r"Too late\. Be quick\."), deadline(0.1, LATE):
        go_on()
    assert not went_on


def test_what_is_done_in_time_is_left_alone_and_so_is_what_comes_after():
    with deadline(0.2, LATE):
        pass
    time.sleep(0.4)


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), deadline(60, LATE):
        raise ZeroDivisionError
