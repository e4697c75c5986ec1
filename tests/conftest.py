"""How much is run: ``--speed check`` a minute's worth, ``test`` a few minutes', ``all``, the default, all.

Always with the same examples; ``--fuzz`` looks for new ones.
"""

import functools
import gc
import os
import sys
from collections import Counter

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
# Cases of a test at most, and examples of a property; a test that is marked cheap runs all its cases.
SPEEDS = {"check": (1, 10), "test": (2, 10), "all": (sys.maxsize, 100)}
LEFT_OUT = {"check": ("slow", "long", "processes"), "test": ("slow", "long"), "all": ()}
for speed, (_, examples) in SPEEDS.items():
    settings.register_profile(speed, settings.get_profile("ci"), max_examples=examples)
settings.load_profile("ci")

# As in pyproject.toml, in processes that tests start.
os.environ["PYTHONWARNINGS"] = ",".join(
    f"ignore::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
)


def pytest_addoption(parser):
    parser.addoption("--fuzz", action="store_true", help="run tests that have a long form in it; see -m long")
    parser.addoption("--speed", choices=SPEEDS, default="all", help="how many cases and examples are run")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: has a long form, which --fuzz runs")
    config.addinivalue_line("markers", "cheap: milliseconds a case, so that every case is run at every speed")
    config.addinivalue_line("markers", "processes: starts processes of its own; a check leaves it out")
    config.addinivalue_line("markers", "slow: takes long in any case, so that only --speed all runs it")
    if config.getoption("--fuzz"):
        settings.load_profile("fuzz")
    else:
        settings.load_profile(config.getoption("--speed"))


def pytest_collection_modifyitems(config, items):
    speed = config.getoption("--speed")
    most, _ = SPEEDS[speed]
    taken, chosen, left = Counter(), [], []
    for item in items:
        test = item.nodeid.partition("[")[0]
        is_slow = any(map(item.get_closest_marker, LEFT_OUT[speed]))
        is_enough = taken[test] >= most and not item.get_closest_marker("cheap")
        (left if is_slow or is_enough else chosen).append(item)
        taken[test] += not is_slow
    config.hook.pytest_deselected(items=left)
    items[:] = chosen


@pytest.fixture(scope="session")
def fuzz(request):
    """Whether tests run in their long form."""
    return request.config.getoption("--fuzz")


def pytest_sessionstart():
    """A mutant of the package may not find what the package as it was has kept."""
    if "MUTANT_UNDER_TEST" in os.environ:
        kept = [thing for thing in gc.get_objects() if isinstance(thing, functools._lru_cache_wrapper)]
        for function in kept:
            module = function.__module__ or ""
            if module.startswith("triconv.") and not module.startswith(
                ("triconv.kernels", "triconv.runtime")
            ):
                function.cache_clear()
