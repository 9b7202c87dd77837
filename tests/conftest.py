"""What holds for all tests: Triton's interpreter, and property tests without a clock."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Before anything imports Triton.
os.environ.setdefault("TRITON_INTERPRET", "1")

# A first call may compile for seconds; CI repeats the same examples, other runs seek new ones.
settings.register_profile(
    "codesign",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("codesign")
