"""Tasks shared out among workers: each has a stretch of its own, and takes from the others' when it is done.

Calls that follow each other give a worker the same rows, so what it read and wrote stays in its caches::

    10 tasks, 3 workers     0 1 2 | 3 4 5 | 6 7 8 9          worker w has those from w * tasks // workers
                              w=0     w=1      w=2           to (w + 1) * tasks // workers

    counters[w * LINE]      how often one of w's tasks was asked for, by any worker
"""

from __future__ import annotations

from triconv.kernels.addresses import claim
from triconv.runtime.jit import LINE, inline


@inline
def take(counters, worker, workers, tasks):
    """Take the next task; a number that is not under ``tasks`` where none is left.

    It is one of the worker's own stretch, or, where none is left of that, of the next worker's that has any.
    Numbers are claimed from a counter atomically, so no task is taken twice.
    """
    for turn in range(workers):
        owner = (worker + turn) % workers
        task = owner * tasks // workers + claim(counters, owner * LINE)
        if task < (owner + 1) * tasks // workers:
            return task
    return tasks
