"""How long several comparisons will take: by prediction, and by how long the calls so far took."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

ASSEMBLY = 8  # how many calls by a W take as long as assembling it, about


class Run(NamedTuple):
    """A method in a comparison: what a call is predicted to take, and what comes beside, in seconds."""

    method: str
    call: float
    more: float = 0.0
    assembles: bool = False  # W, before the first call


class Forecast:
    """What is left of several runs.

    Parameters
    ----------
    runs : iterable of Run
        In the order in which they will be done.
    repeat : int
        Timed calls of a run at most, after one that is not timed.
    time_limit : float
        Seconds after which they end.
    clock : callable
        Gives seconds.

    Examples
    --------
    >>> seconds = [0.0]
    >>> runs = [Run("direct", 1.0), Run("direct", 2.0)]
    >>> forecast = Forecast(runs, repeat=5, time_limit=0.1, clock=lambda: seconds[-1])
    >>> seconds.append(6.0)
    >>> forecast.done(3.0)  # a call took three times as long as predicted; so will those to come
    >>> forecast.left(), forecast.share()
    (12.0, 0.3333333333333333)
    """

    def __init__(
        self,
        runs: Iterable[Run],
        repeat: int,
        time_limit: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.runs = deque(runs)
        self.repeat = repeat
        self.time_limit = time_limit
        self.clock = clock
        self.rates: dict[str, float] = {}
        self.start = self.since = clock()

    def done(self, seconds: float) -> None:
        """The first of the runs is done; its calls took so long, NaN where there were none."""
        run = self.runs.popleft()
        self.since = self.clock()
        if seconds > 0 and run.call > 0:
            self.rates[run.method] = seconds / run.call

    def left(self) -> float:
        """Seconds until all are done."""
        lengths = [self._length(run) for run in self.runs]
        gone = self.clock() - self.since
        return sum(lengths[1:]) + max(0.0, sum(lengths[:1]) - gone)

    def share(self) -> float:
        """How much of the time is over, from 0 to 1."""
        gone, left = self.clock() - self.start, self.left()
        return gone / (gone + left) if gone + left > 0 else 0.0

    def _length(self, run: Run) -> float:
        call = run.call * self.rates.get(run.method, 1.0)
        if not call:
            return run.more
        timed = min(self.repeat, max(1, math.ceil(self.time_limit / call)))
        return call * (1 + timed + ASSEMBLY * run.assembles) + run.more
