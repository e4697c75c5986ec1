"""Calls that take long: their kernels run in a thread of their own, and end early where a signal asks for it.

Python looks after signals in the main thread, between two steps of its own, and never inside compiled code.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONG = 3e8  # cycles from which a call is worth a thread, which starts in 1e5 or fewer
WAIT = 0.05  # seconds between two looks at signals, on systems where they end no wait
STOPPED = 1 << 62  # a count of tasks taken that leaves none


class Call:
    """A call in a thread of its own, whose kernels can be told to take no more tasks."""

    def __init__(self) -> None:
        self.stopped = False
        self.counters: Any = None

    def enter(self, counters: NDArray[np.int64]) -> None:
        """A kernel begins, and counts its tasks here."""
        self.counters = counters
        if self.stopped:
            counters[:] = STOPPED

    def stop(self) -> None:
        """Leave no tasks, now and in kernels to come."""
        self.stopped = True
        if self.counters is not None:
            self.counters[:] = STOPPED


class Calls(threading.local):
    """The long call, if any, that the present thread is for."""

    own: Call | None = None


_calls = Calls()


def begin(counters: NDArray[np.int64]) -> None:
    """Say where a kernel counts the tasks that its workers take, so that they can be stopped."""
    if _calls.own is not None:
        _calls.own.enter(counters)


def interruptible(cycles: float, run: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of kernels that is predicted to take so many cycles of one thread.

    If these are many, Ctrl-C and other signals get through: where a handler raises, no more tasks are taken.
    """
    if cycles < LONG or threading.current_thread() is not threading.main_thread():
        return run(*arguments)
    call, done, result = Call(), threading.Event(), []

    def elsewhere() -> None:
        _calls.own = call
        try:
            result.append((True, run(*arguments)))
        except BaseException as error:
            result.append((False, error))
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(elsewhere,), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads are to be had
        return run(*arguments)
    try:
        while not done.wait(WAIT):
            pass
    except BaseException:
        call.stop()
        raise
    finally:
        thread.join()
    finished, value = result[0]
    if not finished:
        raise value
    return value
