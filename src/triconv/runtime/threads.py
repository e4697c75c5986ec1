"""How many threads a call uses: this library's own count for the calling thread, else Numba's."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator

import numba

from triconv import arguments
from triconv.runtime import internals

_own = threading.local()


def get_num_threads() -> int:
    """Threads that a call from this thread may use.

    Returns
    -------
    int
        The count last set by `set_num_threads` in this thread, else Numba's.

    Examples
    --------
    >>> import triconv
    >>> with triconv.threads(1):
    ...     triconv.get_num_threads()
    1
    """
    return getattr(_own, "count", None) or numba.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set how many threads calls from this thread may use.

    Numba's own count is left alone.

    Parameters
    ----------
    n : int
        From 1 to the number of threads that Numba started with.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not such an int.

    Examples
    --------
    >>> import triconv
    >>> before = triconv.get_num_threads()
    >>> triconv.set_num_threads(1)
    >>> triconv.get_num_threads()
    1
    >>> triconv.set_num_threads(before)
    """
    _own.count = _checked("set_num_threads", n)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Use ``n`` threads inside a ``with`` block, and the former count after it.

    Parameters
    ----------
    n : int
        From 1 to the number of threads that Numba started with.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is not such an int.

    Examples
    --------
    >>> import triconv
    >>> before = triconv.get_num_threads()
    >>> with triconv.threads(1):
    ...     y = triconv.conv2d([[1.0, 2.0]], [[3.0]])
    >>> triconv.get_num_threads() == before
    True
    """
    former = getattr(_own, "count", None)
    _own.count = _checked("threads", n)
    try:
        yield
    finally:
        _own.count = former


def _checked(where: str, n: int) -> int:
    count = arguments.integer(where, "n", n, 1)
    if count > numba.config.NUMBA_NUM_THREADS:
        raise ValueError(f"{where}: n expects at most {numba.config.NUMBA_NUM_THREADS}, got {count}")
    return count


def enter(count: int) -> int:
    """Set Numba's count for a parallel kernel; returns the former one, or 0 where none can run.

    A forked child cannot use the threads that its parent started. Numba's own layer, ``workqueue``, ends
    the process when two threads are inside it at once, and the other one may be the caller's own.
    """
    if _inherited or internals.lacking(internals.LAUNCHING):
        return 0
    if _is_for_one():
        return 0
    former = numba.get_num_threads()
    if count != former:
        numba.set_num_threads(count)
    return int(former)


def leave(former: int) -> None:
    """Put Numba's count back to what `enter` returned."""
    if numba.get_num_threads() != former:
        numba.set_num_threads(former)


def layer() -> str:
    """The name of Numba's threading layer, whose threads are started for that."""
    numba.get_num_threads()
    return str(numba.threading_layer())


def trouble() -> str:
    """What cannot be done with Numba's threads; empty where everything can."""
    lost = {
        "threads of triconv's own take their place": internals.lacking(internals.LAUNCHING),
        "a forked child has one": internals.lacking(internals.FORKING),
    }
    return "; ".join(f"{why}: {then}" for then, why in lost.items() if why)


@functools.cache
def _is_for_one() -> bool:
    return layer() == "workqueue"


def share(workers: int, work: Callable[[int], None]) -> None:
    """Let the workers work where Numba's threads may not: in threads of their own, a forked child in none."""
    others = []
    for worker in range(1, workers):
        if _inherited:
            break
        thread = threading.Thread(target=work, args=(worker,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads are to be had; whoever works takes all the tasks
            break
        others.append(thread)
    work(0)
    for thread in others:
        thread.join()


_inherited = False


def _after_fork() -> None:
    global _inherited
    _inherited = internals.started()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
