"""Do samplers propose what they should, fronts hold what they should, and searches find them?"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sweep.check import find_sweep, read_study, sweep_names
from codesign.sweep.design import Base, Designs
from codesign.sweep.limits import parse_limit, total_violation
from codesign.sweep.pareto import beaten, costs, front, hypervolume, knee
from codesign.sweep.run import Sweep, prepare
from codesign.sweep.samplers import at_share, make_sampler
from codesign.sweep.store import Store
from codesign.sweep.study import Parameter, Study

_RANGE = {"min": 1, "max": 16}


def _study(method: str, **given: object) -> Study:
    return Study.model_validate(
        {
            "name": "x", "workload": "resnet18", "arch": "sat", "method": method,
            "metrics": {"latency_s": "minimize", "area_mm2": "minimize"}, "run_cap": 60,
            "parameters": {
                "arch.array.rows": {"values": tuple(range(1, 17))},
                "arch.array.cols": {"values": (1, 2)} if method == "grid" else _RANGE,
            },
            **given,
        },
        strict=False,
    )  # fmt: skip


def test_a_grid_is_every_combination_once() -> None:
    """All of them, in order; with a cap so many different ones."""
    study = _study("grid", run_cap=None)
    sampler = make_sampler(study)
    points = [tuple(values.values()) for values in sampler.ask(7) + sampler.ask(1000)]
    assert points == [*itertools.product(range(1, 17), (1, 2))]
    capped = make_sampler(_study("grid", run_cap=9)).ask(100)
    assert len({tuple(values.values()) for values in capped}) == 9


@pytest.mark.parametrize("method", ["random", "quasi_random", "tpe", "nsga2"])
def test_the_same_seed_proposes_the_same(method: str) -> None:
    """Whatever the batches; another seed proposes something else."""

    def proposals(seed: int) -> list[dict[str, object]]:
        sampler = make_sampler(_study(method, seed=seed, population=20))
        out: list[dict[str, object]] = []
        while asked := sampler.ask(7 + seed):
            out += asked
            score = [
                ({"latency_s": float(v["arch.array.rows"]), "area_mm2": 1.0}, 0.0) for v in asked
            ]
            sampler.tell(asked, score)
        return out

    first = proposals(3)
    assert first == proposals(3)
    assert first != proposals(4)
    assert len(first) == 60


def test_cma_es_finds_a_minimum() -> None:
    """One metric, two ranges."""
    study = _study(
        "cmaes", metrics={"latency_s": "minimize"}, run_cap=200, population=10,
        parameters={"arch.clock_mhz": {"min": 1.0, "max": 100.0},
                    "arch.dram.bytes_per_cycle": {"min": 1.0, "max": 100.0}},
    )  # fmt: skip
    sampler, best = make_sampler(study), 1e9
    while asked := sampler.ask(1):
        found = [
            (float(v["arch.clock_mhz"]) - 30) ** 2
            + (float(v["arch.dram.bytes_per_cycle"]) - 60) ** 2
            for v in asked
        ]
        best = min(best, *found)
        sampler.tell(asked, [({"latency_s": value}, 0.0) for value in found])
    assert best < 10


@pytest.mark.parametrize("shape", ["uniform", "log_uniform", "int_uniform", "int_log_uniform"])
def test_ranges_are_filled_to_their_ends(shape: str) -> None:
    """Both ends are reached, nothing lies beyond."""
    parameter = Parameter(min=2, max=9, distribution=shape)  # type: ignore[arg-type]
    drawn = [at_share(parameter, i / 4096) for i in range(4096)]
    assert min(drawn) == pytest.approx(2)
    assert 8.9 < max(drawn) <= 9
    if shape.startswith("int"):
        assert set(drawn) == set(range(2, 10))


def test_whole_numbers_of_a_logarithmic_range_have_their_share_of_it() -> None:
    """Value v has the part of the range from v - 1/2 to v + 1/2, as a logarithm."""
    parameter = Parameter(min=2, max=9, distribution="int_log_uniform")
    whole = np.log(9.5 / 1.5)
    for value in range(2, 10):
        begin, end = (np.log((value + side) / 1.5) / whole for side in (-0.5, 0.5))
        assert at_share(parameter, float(begin) + 1e-9) == value
        assert at_share(parameter, float(end) - 1e-9) == value


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_fronts_and_volumes_are_those_of_the_definition(columns: int) -> None:
    """Against a comparison of all pairs, and a count of grid cells."""
    rng = np.random.default_rng(columns)
    for _ in range(30):
        points = rng.integers(0, 5, (12, columns)).astype(float)
        kept = front(points)
        lost = [any((q <= p).all() and (q < p).any() for q in points) for p in points]
        best = {tuple(p) for p, worse in zip(points, lost, strict=True) if not worse}
        assert {tuple(points[i]) for i in kept} == best
        assert len(kept) == len(best)
        cells = itertools.product(range(5), repeat=columns)
        covered = sum(any((p <= c).all() for p in points) for c in map(np.array, cells))
        assert hypervolume(points, np.full(columns, 5.0)) == covered


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_rows_are_beaten_by_the_definition(columns: int) -> None:
    """Nowhere better and somewhere worse than one of the others; equal rows beat no one."""
    rng = np.random.default_rng(columns)
    for size in (0, 1, 9):
        points, others = (rng.integers(0, 4, (n, columns)).astype(float) for n in (12, size))
        expected = [any((q <= p).all() and (q < p).any() for q in others) for p in points]
        assert beaten(points, others).tolist() == expected
    kept = points[front(points)]
    assert not beaten(kept, points).any()
    assert not beaten(kept, kept).any()


def test_the_knee_gives_up_least() -> None:
    """The corner of an L-shaped front; absent metrics are never on a front."""
    points = np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0]])
    assert knee(points, [0, 1, 2]) == 1
    bent = np.array([[0.0, 10.0], [1.0, 7.0], [4.0, 4.5], [10.0, 0.0]])
    assert knee(bent, [0, 1, 2, 3]) == 1, "farthest below the line, not nearest to the corner"
    table = costs([{"a": 1.0}, {"a": 2.0, "b": 3.0}], {"a": "minimize", "b": "maximize"})
    assert front(table) == [1]


def test_limits_are_read_not_run() -> None:
    """Both sides, their violation, and what is refused."""
    limit = parse_limit("area_mm2<=4e2")
    assert limit.violation({"area_mm2": 400.0}) == 0
    assert limit.violation({"area_mm2": 600.0}) == pytest.approx(0.5)
    assert limit.violation({}) > 1e300
    assert parse_limit("x > 1").violation({"x": 1.0}) > 0
    for text in ("area", "1 <= 2", "a <= b", "a <= 1 <= 2", "a <= 1; b", "f(a) <= 1", "a <= nan"):
        with pytest.raises(CodesignError):
            parse_limit(text)


def test_a_parameter_is_there_only_when_it_should(base: Base) -> None:
    """Points that differ only in what is not there are one point."""
    study = base.study.model_copy(
        update={
            "parameters": {
                "sparsity": Parameter(values=("dense", "2:4")),
                "arch.array.rows": Parameter(values=(4, 8), when={"sparsity": ("2:4",)}),
                "seed": Parameter(
                    values=(0, 1), when={"sparsity": ("2:4",), "arch.array.rows": (8,)}
                ),
            }
        }
    )
    designs = Designs(Base(study, base.machines))
    points = [designs.point(0, v) for v in make_sampler(study).ask(9)]
    assert [tuple(point.values.values()) for point in points] == [
        *[("dense",)] * 4, *[("2:4", 4)] * 2, ("2:4", 8, 0), ("2:4", 8, 1),
    ]  # fmt: skip
    assert len({point.key for point in points}) == 4


_SIZES = "1,2,3,4,6,8,12,16,24,32,40,48,56,64"


@pytest.mark.parametrize(
    ("file", "space", "population", "proposals"),
    [
        ("small", [f"arch.array.rows={_SIZES}", f"arch.array.cols={_SIZES}"], 20, 400),
        pytest.param("resnet50_sat", ["sparsity=dense,2:8"], 50, 1200, marks=pytest.mark.slow),
    ],
)
def test_nsga2_finds_the_front(
    small: Path, tmp_path: Path, file: str, space: list[str], population: int, proposals: int
) -> None:
    """95 % of the volume of a whole grid within 15 % of its evaluations, on the mean of five seeds.

    Both are sweeps into stores; what a search proposes twice is evaluated once.
    """
    path = small if file == "small" else find_sweep(file)
    every = _swept(path, tmp_path / "grid.db", space)
    budget = int(0.15 * len(every))
    good = every[np.isfinite(every).all(axis=1)]
    low, high = good.min(axis=0), good.max(axis=0)
    whole = hypervolume((every - low) / (high - low), np.ones(every.shape[1]))
    shares = []
    for seed in range(5):
        given = ["method=nsga2", f"run_cap={proposals}", f"population={population}"]
        found = _swept(path, tmp_path / f"{seed}.db", [*space, *given, f"seed={seed}"], budget)
        volume = hypervolume((found - low) / (high - low), np.ones(every.shape[1]))
        shares.append(volume / whole)
    print(f"{file}: {budget} of {len(every)} points, {np.round(shares, 4)} of the hypervolume")
    assert np.mean(shares) >= 0.95


def _swept(
    path: Path, store_path: Path, given: list[str], first: int | None = None
) -> NDArray[np.float64]:
    """Costs of the points that a sweep evaluates, or the first of them; infinite beyond a limit."""
    base = read_study(path, given)
    limits = tuple(map(parse_limit, base.study.constraints))
    with Store(store_path) as store:
        prepare(store, base, resume=False)
        Sweep(base, store).run()
        rows = store.rows()[:first]
    assert all(row.error is None for row in rows)
    table = costs([row.metrics for row in rows], base.study.metrics)
    table[[total_violation(limits, row.metrics) > 0 for row in rows]] = np.inf
    return table


@pytest.mark.parametrize("name", sweep_names())
def test_shipped_sweeps_are_sound(name: str) -> None:
    """Each is read and checked as it ships, and its first design runs."""
    try:
        base = read_study(find_sweep(name))
    except CodesignError as error:
        if "no source in this version" in str(error):
            pytest.skip(str(error))
        raise
    assert make_sampler(base.study).total > 1
