"""How much is measured, and what every measurement notes."""

import os
import platform

import measure
import numba
import numpy as np
import problems
import pytest
from contenders import PEERS, THREADS

import triconv
from triconv.runtime.machine import machine


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="measure a part of the problems, and those shortly")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "default")  # a peer's warning is not our error


@pytest.fixture(scope="session")
def effort(request):
    return measure.QUICK if request.config.getoption("quick") else measure.FULL


def pytest_generate_tests(metafunc):
    """Every problem of the grid, or of the suites; a part of them for a quick run."""
    quick = metafunc.config.getoption("quick")
    if "grid_problem" in metafunc.fixturenames:
        chosen = [p for p in problems.GRID if not quick or (p.kernel[0] <= 3 and p.dtype == "float32")]
        metafunc.parametrize("grid_problem", chosen, ids=str)
    if "contest" in metafunc.fixturenames:
        contests = [
            (name, problem)
            for name, suite in problems.SUITES.items()
            for problem in (suite.problems[::4] if quick else suite.problems)
        ]
        metafunc.parametrize("contest", contests, ids=lambda contest: f"{contest[0]}: {contest[1]}")


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["quick"] = config.getoption("quick")
    machine_info["triconv"] = triconv.__version__
    machine_info["threads"] = THREADS
    machine_info["vector_bits"] = machine().vector_bits
    machine_info["target"] = machine().cpu_name
    machine_info["cores"] = os.cpu_count()
    machine_info["python"] = platform.python_version()
    machine_info["numpy"] = np.__version__
    machine_info["numba"] = numba.__version__
    machine_info["peers"] = {
        name: peer.version if peer.installed else None
        for name, peer in PEERS.items()
        if peer.task == "convolution"
    }
