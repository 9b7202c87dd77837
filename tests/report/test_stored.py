"""Are runs that were left in a folder read as they were written?"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.metrics.result import Result
from codesign.report.stored import read_results
from codesign.report.tables import results_json


def test_results_come_back_field_for_field(results: list[Result], tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results_json(results))
    for path in (tmp_path, tmp_path / "results.json"):
        assert read_results(path) == results


def test_what_json_has_no_number_for_comes_back(results: list[Result], tmp_path: Path) -> None:
    missing = replace(
        results[0], energy_j=math.nan, ops=(replace(results[0].ops[0], utilisation=math.inf),)
    )
    (tmp_path / "results.json").write_text(results_json([missing]))
    (back,) = read_results(tmp_path)
    assert math.isnan(back.energy_j)
    assert math.isnan(back.ops[0].utilisation)
    assert back.accuracy is None


@pytest.mark.parametrize("field", ["cycles", "ops", "workload", "assumptions"])
def test_a_fault_is_named(results: list[Result], tmp_path: Path, field: str) -> None:
    listed = json.loads(results_json(results[:1]))
    listed[0][field] = {"not": "this"}
    (tmp_path / "results.json").write_text(json.dumps(listed))
    with pytest.raises(CodesignError, match=rf"results\.json: 0\.{field}"):
        read_results(tmp_path)
