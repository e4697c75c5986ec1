"""What the machine could do at most."""

import measure
import pytest


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_multiply_adds(benchmark, dtype, effort):
    call, operations = measure.fma_loop(dtype)
    call()
    measure.race(benchmark, call, {}, effort)
    benchmark.extra_info.update(kind="fma", dtype=dtype, amount=operations)


def test_memory_read(benchmark, effort):
    call, amount = measure.read_loop()
    call()
    measure.race(benchmark, call, {}, effort)
    benchmark.extra_info.update(kind="read", amount=amount)
