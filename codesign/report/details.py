"""What a comparison says beyond its results: one layer's steps, mask loads, doubtful numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from codesign.metrics.result import Result
from codesign.report.cases import Case
from codesign.report.doubts import MOST_CASES, Doubts, doubts
from codesign.report.layer import (
    LayerTimeline,
    MaskLoad,
    layer_timeline,
    mask_loads,
    telling_product,
)
from codesign.report.study import Scenario, study

GOALS = {"latency_s": "minimize", "energy_j": "minimize"}
"""What runs are ranked by where nobody says otherwise."""


@dataclass(frozen=True)
class Detail:
    """Of one scenario; runs are named by their labels there."""

    run: str
    """The run that was looked at closely: the fastest."""
    layer: LayerTimeline | None
    loads: tuple[MaskLoad, ...]
    doubts: Doubts | None
    doubted: tuple[str, ...]
    """The runs whose order was watched, as `doubts` numbers them."""


Details = Mapping[str, Detail]
"""By the key of the scenario."""


def scenario_key(result: Result) -> str:
    """The same for results that belong to one scenario, in every process."""
    return f"{result.workload}\n{result.phase}\n{result.macs}"


def details(
    cases: Sequence[Case],
    *,
    baseline: int = 0,
    names: Sequence[str] | None = None,
    together: bool = False,
    goals: Mapping[str, str] = GOALS,
    left_out: Collection[str] = (),
) -> dict[str, Detail]:
    """Look closely at every scenario; `baseline`, `names` and `together` are those of the page.

    Machines' numbers at the paths `left_out` are not doubted.
    """
    by_result = {id(case.result): case for case in cases}
    found = study([case.result for case in cases], baseline, names=names, together=together)
    return {
        scenario_key(scenario.baseline.result): _detail(scenario, by_result, goals, left_out)
        for scenario in found.scenarios
    }


def _detail(
    scenario: Scenario,
    by_result: Mapping[int, Case],
    goals: Mapping[str, str],
    left_out: Collection[str],
) -> Detail:
    fastest = scenario.fastest
    case = by_result[id(fastest.result)]
    product = telling_product(case)
    ranked = sorted(scenario.runs, key=lambda run: run.result.latency_s)
    watched = [scenario.baseline, *(run for run in ranked if run is not scenario.baseline)]
    watched = watched[:MOST_CASES]
    return Detail(
        run=fastest.label,
        layer=None if product is None else layer_timeline(case, product.name),
        loads=mask_loads(case),
        doubts=doubts([by_result[id(run.result)] for run in watched], goals, left_out=left_out)
        if len(watched) > 1
        else None,
        doubted=tuple(run.label for run in watched),
    )
