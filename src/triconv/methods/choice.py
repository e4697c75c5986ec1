"""Which method is taken where none is asked for: the one that is predicted to take the fewest cycles.

By one sample and one thread, since the order of a sum, hence its bits, may depend on neither.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from triconv.methods import METHODS, matrix
from triconv.methods.common import Cost
from triconv.problem import Problem
from triconv.runtime.machine import Machine

MANY = 1 << 10  # samples, more than any vector has lanes


class Candidate(NamedTuple):
    """A method with the schedule that it would run and what that is predicted to take."""

    name: str
    schedule: Any
    cost: Cost


def candidate(problem: Problem, name: str, machine: Machine) -> Candidate:
    """One method's schedule and predicted cost."""
    schedule = METHODS[name].schedule(problem.plain(), machine)
    return Candidate(name, schedule, METHODS[name].cost(problem, schedule))


@functools.lru_cache(maxsize=1024)
def candidates(problem: Problem, machine: Machine) -> tuple[Candidate, ...]:
    """Every method that can do a problem."""
    return tuple(
        candidate(problem, name, machine) for name, method in METHODS.items() if not method.supports(problem)
    )


def fastest_without_matrix(problem: Problem, cycles: Callable[[Problem, str], float]) -> str:
    """The fastest of the methods that assemble no W, by what one sample is predicted to take."""
    one = replace(problem, batch=1)
    names = [
        name for name, method in METHODS.items() if not method.NEEDS_MATRIX and not method.supports(problem)
    ]
    return min(names, key=lambda name: cycles(one, name))


def without_matrix(problem: Problem, machine: Machine) -> str:
    """The same for a convolution."""
    return fastest_without_matrix(problem, lambda one, name: candidate(one, name, machine).cost.cycles)


def fastest(problem: Problem, machine: Machine) -> str:
    """The fastest of all, W only where it takes no more memory than the fastest without it."""
    one = replace(problem, batch=1)
    best = candidate(one, without_matrix(problem, machine), machine)
    method = METHODS[best.name]
    most = method.packed_bytes(one, best.schedule) + method.workspace_bytes(one, best.schedule, 1)
    if matrix.table_bytes(one) > most:  # it is not even counted what W would hold
        return best.name
    W = candidate(one, matrix.NAME, machine)
    # Nor may the choice depend on the batch, whose samples W takes many at a time.
    many = replace(one, batch=MANY)
    workspace = matrix.workspace_bytes(many, matrix.schedule(many.plain(), machine), 1)
    is_lean = matrix.assembly_bytes(one, W.schedule) + workspace <= most
    return W.name if is_lean and W.cost.cycles < best.cost.cycles else best.name


def require(where: str, method: str, problem: Problem) -> None:
    """Refuse a method that cannot do a problem."""
    if method != "auto" and (reason := METHODS[method].supports(problem)):
        raise ValueError(f"{where}: method {method!r} {reason}")
