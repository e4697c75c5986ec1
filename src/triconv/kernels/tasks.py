"""Tasks shared out among workers: each has a stretch of its own, and takes from the others' when it is done.

Calls that follow each other give a worker the same rows, so what it read and wrote stays in its caches.
"""

from __future__ import annotations

from triconv.kernels.addresses import claim
from triconv.runtime.jit import LINE, inline


@inline
def take(counters, worker, workers, tasks):
    """Take the next task; a number that is not under ``tasks`` where none is left."""
    for turn in range(workers):
        owner = (worker + turn) % workers
        task = owner * tasks // workers + claim(counters, owner * LINE)
        if task < (owner + 1) * tasks // workers:
            return task
    return tasks
