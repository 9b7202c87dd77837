"""Triton runs in its interpreter: this must be said before anything imports it."""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
