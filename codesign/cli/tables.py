"""What `simulate` prints about one result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING

from codesign.cli.console import in_unit, table
from codesign.cli.groups import Group, indented, layer_groups
from codesign.report import quantities as q
from codesign.report.study import cycles_by
from codesign.units import PJ_PER_J

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.metrics.result import OpResult, Result

BOUND_SHOWN = 0.95
DEFAULT_DTYPE = "fp16"
SPARED: tuple[tuple[str, ...], ...] = ((), ("cycles",), ("cycles", "ops"))
"""Columns that a terminal loses before names are folded, by how narrow it is."""


def sizes(meta: Mapping[str, object]) -> list[str]:
    """Sizes that a trace was made with, and its data type where that is not the default.

    >>> sizes({"batch": 8, "seq": 1, "context": 100, "dtype": "fp8"})
    ['batch 8', 'seq 1', 'context 100', 'fp8']
    """
    named = [f"{key} {meta[key]}" for key in ("batch", "seq", "context") if meta.get(key)]
    dtype = meta.get("dtype", DEFAULT_DTYPE)
    return named if dtype == DEFAULT_DTYPE else [*named, str(dtype)]


def header(result: Result, meta: Mapping[str, object]) -> str:
    """Two lines: what runs, and on what."""
    what = [result.phase, *sizes(meta)]
    return (
        f"{result.workload} · {', '.join(what)} · {result.sparsity}\n"
        f"on {result.arch} at {result.clock_mhz:g} MHz · {result.fidelity} fidelity"
    )


def by_layer(result: Result, *, without: Sequence[str] = ()) -> Table:
    """One row for each group of layers; those of the same blocks lie under a heading."""
    groups = layer_groups(
        result.ops,
        weight=lambda op: op.cycles,
        likeness=lambda op: (op.kind, op.phase, op.shape, op.pattern),
    )
    return _rows("layer", groups, result, without)


def by_operator(result: Result, *, without: Sequence[str] = ()) -> Table:
    """One row for each operator."""
    return _rows("operator", [Group(op.name, (op,)) for op in result.ops], result, without)


def by_phase(result: Result) -> Table | None:
    """One row for each phase, when there is more than one."""
    phases: dict[str, list[OpResult]] = {}
    for op in result.ops:
        phases.setdefault(op.phase, []).append(op)
    if len(phases) < 2:
        return None
    return _rows("phase", [Group(name, tuple(ops)) for name, ops in phases.items()], result)


def _rows(
    what: str, groups: Sequence[Group[OpResult]], result: Result, without: Sequence[str] = ()
) -> Table:
    every = Group("total", result.ops)
    shown = [*groups, every]
    names = [group.label for group in shown]
    labels = indented(names) if what == "layer" else [(None, name) for name in names]
    cycles = [sum(op.cycles for op in group.ops) for group in shown]
    s_per_cycle = q.divide(result.latency_s, result.cycles)
    time_unit, times = in_unit([each * s_per_cycle for each in cycles], "s")
    energies_j = [sum(op.energy_pj for op in group.ops) / PJ_PER_J for group in shown]
    energy_unit, energies = in_unit(energies_j, "J", 3)
    bytes_moved = [sum(op.dram_bytes for op in group.ops) for group in shown]
    dram_unit, moved = in_unit(bytes_moved, "B", 3)
    heads = (
        what, "ops", "cycles", f"time\n{time_unit}", "time\n%", "used\n%", "bound by",
        f"energy\n{energy_unit}", f"DRAM\n{dram_unit}",
    )  # fmt: skip
    kept = [head not in without for head in heads]
    grid = table(*compress(heads, kept))
    for group, (heading, label), spent, time, energy, dram in zip(
        shown, labels, cycles, times, energies, moved, strict=True
    ):
        if group is every:
            grid.add_section()
        if heading is not None:
            grid.add_row(heading)
        used = result.utilisation if group is every else _utilisation(group.ops)
        cells = (
            label, str(len(group.ops)), f"{spent:,}", time,
            percent(q.divide(spent, result.cycles)), percent(used), bound_by(group.ops), energy,
            dram,
        )  # fmt: skip
        grid.add_row(*compress(cells, kept))
    return grid


def _utilisation(ops: Sequence[OpResult]) -> float:
    """Mean over the group's cycles."""
    cycles = sum(op.cycles for op in ops)
    return sum(op.utilisation * op.cycles for op in ops) / cycles if cycles else 0.0


def bound_by(ops: Iterable[OpResult]) -> str:
    """What most of the cycles waited for, with its share when that is not nearly all."""
    ranked = cycles_by(ops, lambda op: op.bound_by)
    total = sum(ranked.values())
    if not total:
        return q.MISSING
    name, cycles = next(iter(ranked.items()))
    return name if cycles >= BOUND_SHOWN * total else f"{name} {percent(cycles / total)}%"


def percent(fraction: float) -> str:
    """A share without its sign, for narrow columns."""
    return q.share(fraction).removesuffix(" %")


def totals(result: Result) -> Table:
    """The whole run, one quantity in each line."""
    excess = q.divide(result.cycles, result.roofline_cycles)
    rows = [
        ("latency", q.with_unit(result.latency_s, "s", 4), f"{result.cycles:,} cycles"),
        ("", q.ratio(excess), "the roofline's cycles"),
        ("energy", q.with_unit(result.energy_j, "J", 4), split(result.energy_j_by_part)),
        ("power", q.with_unit(result.power_w, "W", 4), "average"),
        *_board(result),
        ("EDP", q.with_unit(result.edp_js, "Js", 4), "energy times latency"),
        ("utilisation", q.share(result.utilisation), "of what the MAC array could issue"),
        ("effective", rate(result.effective_tops), _macs(result.effective_macs, "on kept weights")),
        ("dense", rate(result.dense_tops), _macs(result.macs, "in the dense model")),
        ("peak", rate(result.peak_tops), "dense; 1 MAC = 2 OP"),
        ("DRAM", q.with_unit(result.dram_bytes, "B", 4), "moved"),
        *_row_hits(result.counters),
        ("cell area", q.area(result.area_mm2), split(result.area_mm2_by_part)),
        *_die(result.die_mm2),
        ("assumed", str(len(result.assumptions)), "values; --assumptions lists them"),
    ]
    grid = table("", "", "", left=3)
    grid.show_header = False
    grid.columns[1].justify = "right"
    grid.columns[1].no_wrap = True
    for row in rows:
        grid.add_row(*row)
    return grid


def _board(result: Result) -> list[tuple[str, str, str]]:
    """Energy at the supply of the whole board, where the machine file has its coefficients."""
    joule = result.board_energy_j
    if joule is None:
        return []
    watts = q.with_unit(q.divide(joule, result.latency_s), "W", 4)
    return [("at the board", q.with_unit(joule, "J", 4), f"{watts} from board coefficients")]


def _die(mm2: float | None) -> list[tuple[str, str, str]]:
    """The whole die, where its maker states one: cells alone are a small part of it."""
    return [] if mm2 is None else [("die", f"{mm2:,.4g} mm²", "as its maker states it")]


def _row_hits(counters: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """How often an access found its row open, where a machine steps its DRAM's commands."""
    accesses = counters.get("row_hit", 0) + counters.get("row_miss", 0)
    if not accesses:
        return []
    hits = q.share(counters.get("row_hit", 0) / accesses)
    return [("row hits", hits, f"of {accesses:,} column accesses")]


def rate(tops: float) -> str:
    """Operations per second."""
    return q.with_unit(tops * 1e12, "OP/s", 4)


def _macs(macs: int, where: str) -> str:
    return f"{q.with_unit(macs, 'MAC', 4)} {where}"


def split(parts: Mapping[str, float], largest: int = 4) -> str:
    """Shares of a sum, the largest first.

    >>> split({"dram": 3.0, "mac": 1.0})
    'dram 75 %, mac 25 %'
    """
    total = sum(parts.values())
    if not total:
        return ""
    ranked = sorted(parts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {q.share(value / total)}" for name, value in ranked[:largest]]
    rest = sum(value for _, value in ranked[largest:])
    return ", ".join([*shown, f"other {q.share(rest / total)}"] if rest else shown)


def notes(result: Result) -> list[str]:
    """What did not run as asked, and how many operators it concerns."""
    affected = Counter(op.note for op in result.ops if op.note)
    rows = []
    for note in dict.fromkeys([*result.notes, *affected]):
        many = affected[note]
        rows.append(f"{note} ({many} operator{'s' if many > 1 else ''})" if many else note)
    return rows


def assumptions(result: Result) -> Table:
    """The values that nobody published."""
    grid = table("path", "value", "status", "source", left=4, title="assumptions")
    for item in result.assumptions:
        grid.add_row(item.path, f"{item.value:g}", item.status, item.source)
    return grid
