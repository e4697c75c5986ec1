"""The machine that Numba compiles for, as the few numbers that kernels and schedules need."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from triconv.runtime import internals

# Feature that names the row, bits of a vector, vector registers. First match wins; the last rows
# match always. Numba's own target description decides, so NUMBA_CPU_NAME and NUMBA_CPU_FEATURES count.
VECTOR_UNITS = {
    "x86_64": (("avx512vl", 512, 32), ("avx2", 256, 16), ("avx", 256, 16), ("", 128, 16)),
    "aarch64": (("", 128, 32),),
}
OTHER = (("", 128, 16),)


@dataclass(frozen=True, slots=True)
class Machine:
    """A row of the table, and the name of the CPU."""

    cpu_name: str
    vector_bits: int
    registers: int
    fma: bool


def describe(triple: str, cpu_name: str, features: str) -> Machine:
    """Look a target up by LLVM's description of it."""
    have = {name[1:] for name in features.split(",") if name.startswith("+")}
    architecture = triple.partition("-")[0]
    rows = VECTOR_UNITS.get(architecture, OTHER)
    unit = next((bits, registers) for feature, bits, registers in rows if not feature or feature in have)
    return Machine(cpu_name, *unit, fma=architecture == "aarch64" or "fma" in have)


@functools.cache
def machine() -> Machine:
    """The machine of this process."""
    return describe(*internals.target())
