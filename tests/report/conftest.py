"""The study that most tests of reports read."""

from __future__ import annotations

import pytest

from codesign.metrics.result import Result
from tests.report.made_by_hand import study_results


@pytest.fixture
def results() -> list[Result]:
    return study_results()
