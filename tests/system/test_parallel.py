"""Threads work ahead in order, by a bounded amount."""

import threading

import pytest

from clinical_backend.system.parallel import map_in_order


def test_results_come_in_order_though_they_are_ready_in_another():
    second_is_ready = threading.Event()

    def work(item):
        if item == 0:
            assert second_is_ready.wait(10)
        if item == 1:
            second_is_ready.set()
        return -item

    assert list(map_in_order(work, range(5), workers=2, look_ahead=4)) == [0, -1, -2, -3, -4]


def test_an_error_is_raised_in_its_turn():
    results = map_in_order(lambda item: 1 // (item - 2), range(5), workers=2, look_ahead=5)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_items_is_raised_after_what_came_of_those_before():
    def items():
        yield from range(4)
        raise ZeroDivisionError

    results = map_in_order(str, items(), workers=2, look_ahead=3)
    assert [next(results) for _ in range(4)] == ["0", "1", "2", "3"]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("look_ahead", [1, 3])
def test_no_more_than_the_look_ahead_is_read(look_ahead):
    source = iter(range(100))
    results = map_in_order(str, source, workers=4, look_ahead=look_ahead)
    assert next(results) == "0"
    assert next(source) == look_ahead
    results.close()
