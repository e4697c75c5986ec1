"""What every way to compute a convolution answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from triconv.core.problem import Problem
from triconv.runtime.machine import Machine
from triconv.schedules.cost import Cost
from triconv.schedules.packing import Packed, Packer

Runner = Callable[[Packed, Any, Any, int], None]


class Method(Protocol):
    """A module, or an object, that computes convolutions in one way.

    A schedule is of its own kind, and comes back to it in everything that it is asked after that. Problems
    that it lays out and runs are canonical; what it counts may be asked of any.
    """

    @property
    def NAME(self) -> str:
        """What callers know it by."""

    @property
    def NEEDS_MATRIX(self) -> bool:
        """Whether it assembles W, which takes memory that others do not need."""

    @property
    def IS_EXACT(self) -> bool:
        """Whether integers that the dtype holds come out exact.

        Then an error is at most ``n u / (1 - n u)`` times the sum of absolute values that makes the output,
        for ``n`` terms and unit roundoff ``u``; and ``"auto"`` may take it.
        """

    def supports(self, problem: Problem) -> str:
        """What it would need to do a problem, as in "needs stride 1"; empty where it can do it."""

    def schedule(self, problem: Problem, machine: Machine) -> Any:
        """How the work would be laid out; a pure function."""

    def cost(self, problem: Problem, schedule: Any) -> Cost:
        """What that is predicted to take, by the model of `triconv.schedules.cost`."""

    def packed_bytes(self, problem: Problem, schedule: Any) -> int:
        """Bytes of what is kept of the weights: packed ones, or W."""

    def workspace_bytes(self, problem: Problem, schedule: Any, workers: int) -> int:
        """Bytes that a call takes beside its input and output."""

    def require(self, where: str, problem: Problem, schedule: Any) -> None:
        """Refuse what is kept of the weights where it would not fit while it is made."""

    def packer(self, problem: Problem, schedule: Any) -> Packer:
        """A function that puts weights and a bias in its own order."""

    def runner(self, problem: Problem, schedule: Any) -> Runner:
        """A function of these that convolves flat, contiguous ``x`` into ``y``."""

    def explain(self, problem: Problem, schedule: Any) -> str:
        """The schedule in words."""
