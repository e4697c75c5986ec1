"""How long is left: by prediction, then by what calls took."""

import math

import pytest

from triconv.forecast import ASSEMBLY, Forecast, Run


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_before_anything_is_done_it_is_the_prediction(clock):
    runs = [
        Run("direct", 0.25, 0.5),
        Run("im2col", 4.0),
        Run("matrix", 0.0),
        Run("matrix", 2.0, assembles=True),
    ]
    forecast = Forecast(runs, repeat=5, time_limit=1.0, clock=clock)
    # a call that is not timed, and four, one and one that are; W is assembled too
    assert forecast.left() == 0.25 * 5 + 0.5 + 4.0 * 2 + 2.0 * (2 + ASSEMBLY)
    assert forecast.share() == 0.0


def test_it_goes_on_while_nothing_is_reported(clock):
    forecast = Forecast([Run("direct", 4.0), Run("direct", 1.0)], 5, 1.0, clock)
    clock.now += 2
    assert forecast.left() == 8.0
    assert forecast.share() == 0.2
    clock.now += 100  # longer than predicted: what comes after is still to come
    assert forecast.left() == 2.0
    assert forecast.share() == pytest.approx(102 / 104)


def test_calls_that_took_longer_let_those_to_come_take_longer(clock):
    runs = [Run("direct", 1.0), Run("im2col", 1.0), Run("direct", 2.0), Run("im2col", 2.0)]
    forecast = Forecast(runs, 5, 1.0, clock)
    clock.now += 30
    forecast.done(10.0)
    assert forecast.left() == 2 * 1.0 + 2 * 20.0 + 2 * 2.0
    clock.now += 2
    forecast.done(math.nan)  # it did not run
    assert forecast.left() == 2 * 20.0 + 2 * 2.0


def test_at_the_end_all_is_over(clock):
    forecast = Forecast([Run("direct", 1.0)], 5, 1.0, clock)
    clock.now += 3
    forecast.done(0.5)
    assert (forecast.left(), forecast.share()) == (0.0, 1.0)
    assert Forecast([], 5, 1.0, clock).share() == 0.0
