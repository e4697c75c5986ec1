"""Short and long runs: ``ci``, the default, always runs the same examples; ``--fuzz`` looks for new ones.

``--fast`` runs one case of each test that takes seconds.
"""

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
settings.register_profile("fast", settings.get_profile("ci"), max_examples=10)
settings.load_profile("ci")

# As in pyproject.toml, in processes that tests start.
os.environ["PYTHONWARNINGS"] = ",".join(
    f"ignore::{kind}" for kind in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
)


def pytest_addoption(parser):
    parser.addoption("--fuzz", action="store_true", help="run tests that have a long form in it; see -m long")
    parser.addoption("--fast", action="store_true", help="run the first case of each test, with few examples")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: has a long form, which --fuzz runs")
    config.addinivalue_line("markers", "slow: takes long in any case, so that --fast leaves it out")
    if config.getoption("--fuzz"):
        settings.load_profile("fuzz")
    elif config.getoption("--fast"):
        settings.load_profile("fast")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--fast"):
        quick = [item for item in items if not any(map(item.get_closest_marker, ("slow", "long")))]
        first = {item.nodeid.partition("[")[0]: item for item in reversed(quick)}
        chosen = set(map(id, first.values()))
        config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen])
        items[:] = [item for item in items if id(item) in chosen]


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
