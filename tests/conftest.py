"""Short and long runs: ``ci``, the default, always runs the same examples; ``--fuzz`` looks for new ones."""

import functools
import gc
import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", max_examples=20_000, deadline=None, print_blob=True)
settings.load_profile("ci")


def pytest_addoption(parser):
    parser.addoption("--fuzz", action="store_true", help="run tests that have a long form in it; see -m long")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: has a long form, which --fuzz runs")
    if config.getoption("--fuzz"):
        settings.load_profile("fuzz")


@pytest.fixture(scope="session")
def fuzz(request):
    """Whether tests run in their long form."""
    return request.config.getoption("--fuzz")


def pytest_sessionstart():
    """A mutant of the package may not find what the package as it was has kept."""
    if "MUTANT_UNDER_TEST" in os.environ:
        kept = [thing for thing in gc.get_objects() if isinstance(thing, functools._lru_cache_wrapper)]
        for function in kept:
            if (function.__module__ or "").rpartition(".")[0] == "triconv":
                function.cache_clear()
