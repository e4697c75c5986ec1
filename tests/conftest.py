"""Hypothesis profiles: ``ci``, the default, always runs the same examples; ``fuzz`` looks for new ones.

pytest --hypothesis-profile=fuzz tests/test_conv2d.py
"""

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
