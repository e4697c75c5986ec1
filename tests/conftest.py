"""Short and long runs: ``ci``, the default, always runs the same examples; ``--fuzz`` looks for new ones."""

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
