"""Which method is taken where none is asked for: the one that is predicted to take the fewest cycles.

By one sample and one thread, since the order of a sum, hence its bits, may depend on neither.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from triconv import arguments
from triconv.core.pattern import table_bytes
from triconv.core.problem import Problem
from triconv.methods import METHODS, matrix, names
from triconv.runtime.machine import Machine
from triconv.schedules.cost import Cost

MANY = 1 << 10  # samples, more than any vector has lanes


class Candidate(NamedTuple):
    """A method with the schedule that it would run and what that is predicted to take."""

    name: str
    schedule: Any
    cost: Cost


def named(where: str, method: Any) -> str:
    """A ``method=`` argument, refused where there is none of that name."""
    return arguments.choice(where, "method", method, names())


def checked(where: str, method: Any, problem: Problem) -> str:
    """The same, refused where it cannot do the problem."""
    name = named(where, method)
    if name != "auto" and (reason := METHODS[name].supports(problem)):
        raise ValueError(f"{where}: method {name!r} {reason}")
    return name


def candidate(problem: Problem, name: str, machine: Machine) -> Candidate:
    """One method's schedule and predicted cost."""
    schedule = METHODS[name].schedule(problem.canonical(), machine)
    return Candidate(name, schedule, METHODS[name].cost(problem, schedule))


@functools.lru_cache(maxsize=1024)
def candidates(problem: Problem, machine: Machine) -> tuple[Candidate, ...]:
    """Every method that can do a problem."""
    return tuple(
        candidate(problem, name, machine) for name, method in METHODS.items() if not method.supports(problem)
    )


def cheapest(problem: Problem, methods: Iterable[str], cycles: Callable[[Problem, str], float]) -> str:
    """Which of these methods is predicted to take the fewest cycles for one sample; of equals the first."""
    one = replace(problem, batch=1)
    return min(methods, key=lambda name: cycles(one, name))


def without_matrix(
    problem: Problem, machine: Machine, cycles: Callable[[Problem, str], float] | None = None
) -> str:
    """The fastest of those that assemble no W; ``cycles`` predicts where it is not a convolution itself."""
    methods = [
        name
        for name, method in METHODS.items()
        if method.IS_EXACT and not method.NEEDS_MATRIX and not method.supports(problem)
    ]
    return cheapest(problem, methods, cycles or (lambda one, name: candidate(one, name, machine).cost.cycles))


def fastest(problem: Problem, machine: Machine) -> str:
    """The fastest of all, W only where it takes no more memory than the fastest without it."""
    one = replace(problem, batch=1)
    best = candidate(one, without_matrix(problem, machine), machine)
    method = METHODS[best.name]
    most = method.packed_bytes(one, best.schedule) + method.workspace_bytes(one, best.schedule, 1)
    if table_bytes(one) > most:  # it is not even counted what W would hold
        return best.name
    W = candidate(one, matrix.NAME, machine)
    # Nor may the choice depend on the batch, whose samples W takes many at a time.
    many = replace(one, batch=MANY)
    workspace = matrix.workspace_bytes(many, matrix.schedule(many.canonical(), machine), 1)
    is_lean = matrix.assembly_bytes(one, W.schedule) + workspace <= most
    return W.name if is_lean and W.cost.cycles < best.cost.cycles else best.name
