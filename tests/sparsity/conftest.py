"""Property tests here compile kernels on their first example, so they have no deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("compiles", deadline=None)
settings.load_profile("compiles")
