"""The study that most tests of reports read."""

from __future__ import annotations

import pytest
from made_by_hand import study_results

from codesign.metrics.result import Result


@pytest.fixture
def results() -> list[Result]:
    return study_results()
