"""Studies and their points made by hand, so that reports are tested without a simulator."""

from __future__ import annotations

from typing import Any

from codesign.sweep.store import Row
from codesign.sweep.study import Study

WORKLOADS = ("resnet_toy", "gpt_toy")
SPARSITIES = ("dense", "2:4", "2:8")


def make_study(**changes: Any) -> Study:
    """A study of arrays, patterns and bandwidths for two workloads, at most 20 mm2."""
    given: dict[str, Any] = {
        "name": "toy",
        "description": "Arrays for two toys",
        "workload": {"name": "resnet_toy", "batch": 4},
        "arch": "sat",
        "method": "grid",
        "metrics": {"latency_s": "minimize", "energy_j": "minimize"},
        "constraints": ("area_mm2 <= 20",),
        "parameters": {
            "workload": {"values": WORKLOADS},
            "sparsity": {"values": SPARSITIES},
            "arch.array.rows": {"values": (8, 16, 32, 64)},
            "arch.dram.bytes_per_cycle": {"min": 32.0, "max": 96.0},
        },
        **changes,
    }
    return Study.model_validate(given)


def make_row(
    number: int,
    workload: str = "resnet_toy",
    sparsity: str = "dense",
    rows: int = 8,
    bandwidth: float = 64.0,
    **changes: Any,
) -> Row:
    """A point whose figures follow from its parameters by a rule: latency, energy, area."""
    work = (1 + WORKLOADS.index(workload)) if workload in WORKLOADS else 1.0
    kept = {"dense": 1.0, "2:4": 0.6, "2:8": 0.4}.get(sparsity, 1.0)
    latency_s = work * 1e-3 * (kept * 8 / rows + 8 / bandwidth)
    energy_j = work * 1e-3 * (kept * 2 + rows / 40 + bandwidth / 400)
    area_mm2 = 0.5 + rows * rows / 160
    given: dict[str, Any] = {
        "key": f"k{number:06d}",
        "number": number,
        "fidelity": "tile",
        "values": {
            "workload": workload,
            "sparsity": sparsity,
            "arch.array.rows": rows,
            "arch.dram.bytes_per_cycle": bandwidth,
        },
        "config": {
            "workload": {"name": workload, "phase": None, "batch": 4, "seq": None, "set": {}},
            "arch": {
                "name": "sat",
                "set": {"array.rows": rows, "dram.bytes_per_cycle": bandwidth},
                "file": "490e976366aecca3",
            },
            "sparsity": {"pattern": sparsity, "where": "*", "method": None},
            "mapping": {"mapper": "heuristic", "objective": "latency", "budget": 16},
            "seed": 0,
            "fidelity": "tile",
            "accuracy": None,
        },
        "metrics": {
            "cycles": round(latency_s * 2e8),
            "latency_s": latency_s,
            "energy_j": energy_j,
            "area_mm2": area_mm2,
            "power_w": energy_j / latency_s,
        },
        "error": None,
        "seed": 0,
        "duration_s": 0.01,
        "arch_fingerprint": "a1",
        "trace_fingerprint": "b2",
        "version": "0.1.0",
        **changes,
    }
    return Row(**given)


def make_rows(count: int = 48) -> list[Row]:
    """Points over all values in turn; the bandwidth is another one each time."""
    made = []
    for number in range(count):
        made.append(
            make_row(
                number,
                WORKLOADS[number % 2],
                SPARSITIES[number // 2 % 3],
                (8, 16, 32, 64)[number // 6 % 4],
                32.0 + 64.0 * ((number * 37) % 101) / 100,
            )
        )
    return made


def hostile_row(number: int, text: str) -> Row:
    """A point with `text` in every field that a file or a name can fill."""
    row = make_row(number)
    return make_row(
        number,
        values={**row.values, "workload": text, "sparsity": text},
        config={
            **row.config,
            "workload": {**row.config["workload"], "name": text},
            "arch": {**row.config["arch"], "name": text, "file": text},
            "sparsity": {**row.config["sparsity"], "pattern": text, "where": text},
        },
        fidelity="tile",
        version=text,
        arch_fingerprint=text,
    )
