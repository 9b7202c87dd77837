"""DRAM engine against Ramulator 2.1 (all equal) and DRAMsim3 (cycles near, energies equal)."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from codesign.config import CodesignError
from codesign.measure.dram_traces import PATTERNS, requests
from codesign.measure.oracle_file import Record, read_records
from codesign.measure.suite import Group, TableRow, ValidationReport, compare, report, without_data
from codesign.memory.energy import energy_of
from codesign.memory.requests import RequestTimeline, simulate_located
from codesign.memory.spec import (
    Citation,
    Currents,
    DramSpec,
    Organisation,
    Timing,
    command_ids,
    dram,
)
from codesign.units import PS_PER_NS

DATA_FILE = "dram.csv"

RAMULATOR, DRAMSIM = "Ramulator 2.1", "DRAMsim3"

_PRESET = {"DDR4": "ddr4_2400", "GDDR6": "gddr6_14000", "HBM2": "hbm2_2000"}

_TIMINGS = (
    "nBL",
    "nCL",
    "nCWL",
    "nRCDRD",
    "nRCDWR",
    "nRP",
    "nRAS",
    "nRC",
    "nWR",
    "nCCDS",
    "nCCDL",
    "nRRDS",
    "nRRDL",
    "nWTRS",
    "nWTRL",
    "nFAW",
    "n32AW",
    "nPPD",
    "nCS",
    "nREFI",
    "nRFC",
    "nREFIpb",
    "nRFCpb",
    "nRREFD",
)

_SHAPE = ("bank_groups", "banks_per_group", "bursts_per_row", "bytes_per_request")

_COUNTS = {
    "n_act": ("ACT",),
    "n_prepb": ("PRE",),
    "n_preab": ("PREA",),
    "n_rd": ("RD",),
    "n_wr": ("WR",),
    "n_refab": ("REFA",),
}

_ENERGIES = {
    "energy_act_mw_cycles": "activate_pj",
    "energy_read_mw_cycles": "read_pj",
    "energy_write_mw_cycles": "write_pj",
    "energy_ref_mw_cycles": "refresh_pj",
}

_COLUMNS = (
    "case",
    "simulator",
    "standard",
    "pattern",
    "n_requests",
    "refresh",
    "tCK_ps",
    "ranks",
    *_SHAPE,
    *_TIMINGS[:16],
    "nRTPL",
    "cycles_total",
)

_LATENCY_ROUNDING = 1.5e-4
"""The oracle prints four digits of a mean that it held in floating point."""

_NEAR = 0.05
_BANKS_IN_TURN = (
    "DRAMsim3 serves its bank queues in turn, so banks keep the lead that they gained at the first"
    " activates and hide each other's row changes; oldest first makes them change rows together"
)


@dataclass(frozen=True)
class Case:
    """A run to repeat, and what the other simulator found."""

    name: str
    simulator: str
    spec: DramSpec
    pattern: str
    n_requests: int
    refresh: bool
    found: dict[str, float]
    log: Path | None = None
    queue: int = 32


@dataclass
class _Pairs:
    """Pairs of (ours, theirs) by group."""

    by_group: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, group: str, ours: float, theirs: float) -> None:
        self.by_group.setdefault(group, []).append((ours, theirs))


def run(path: Path | None) -> ValidationReport:
    """Repeat every row of a file in the form of the oracle, or our own sample rows.

    Ramulator rows: ticks, clocks of the last commands, command counts, row classes, mean read
    latency and the logged commands are all to be equal. DRAMsim3 rows: each within 5 % in cycles,
    with its own timings and rows that stay open while requests hit them; energies from its own
    counts equal.
    """
    if path is None:
        return _report(_samples(), without_data(DATA_FILE))
    return _report([_case(row, path.parent) for row in read_records(path, _COLUMNS)], None)


def _report(cases: Sequence[Case], skipped: str | None) -> ValidationReport:
    cycles, other, near = _Pairs(), _Pairs(), _Pairs()
    table: list[TableRow] = []
    for case in cases:
        ours = simulate(case)
        if case.simulator == RAMULATOR:
            cycles.add(
                f"{RAMULATOR} {case.spec.standard} ticks", ours.cycles, case.found["cycles_total"]
            )
            for group, ours_value, theirs in _details(case, ours):
                other.add(group, ours_value, theirs)
        else:
            found = case.found["cycles_total"]
            end = int(ours.done.max(initial=0))
            turns = case.pattern == "stream_1bg" and abs(end - found) > _NEAR * found
            near.add(f"{DRAMSIM} {'one bank group, ' if turns else ''}cycles", end, found)
            for group, ours_value, theirs in _energies(case):
                other.add(group, ours_value, theirs)
            table.append(
                {
                    "section": f"{DRAMSIM} cycles",
                    "case": case.name,
                    "ours": end,
                    "theirs": found,
                    "difference": round((end - found) / found, 4),
                }
            )
    counted = [compare(name, pairs, within=0) for name, pairs in cycles.by_group.items()]
    beside = [compare(name, pairs, within=0) for name, pairs in other.by_group.items()]
    for name, pairs in near.by_group.items():
        explained = "one bank group" in name
        beside.append(_each_near(name, pairs, _BANKS_IN_TURN if explained else "", not explained))
    return report(
        "dram", counted or beside, beside if counted else (), skipped_reason=skipped, table=table
    )


def _each_near(name: str, pairs: Iterable[tuple[float, float]], note: str, bound: bool) -> Group:
    found = list(pairs)
    group = compare(name, found, note=note)
    if not bound:
        return group
    worst = max(abs(ours - theirs) / theirs for ours, theirs in found)
    return replace(group, bound=f"each within {_NEAR:.0%}", passed=worst <= _NEAR)


def simulate(case: Case, log_entries: int = 0) -> RequestTimeline:
    """Run a case on our engine, by the rules of the simulator that it comes from."""
    shape = case.spec.organisation
    trace = requests(
        case.pattern, case.n_requests, shape.bank_groups, shape.banks_per_group, shape.columns
    )
    return simulate_located(
        case.spec,
        trace.where,
        trace.write,
        policy="fr_fcfs" if case.simulator == RAMULATOR else "row_hits_first",
        queue=case.queue,
        refresh="all_bank" if case.refresh else "off",
        staggered=case.simulator == DRAMSIM and shape.ranks > 1,
        log_entries=log_entries,
    )


def _details(case: Case, ours: RequestTimeline) -> Iterator[tuple[str, float, float]]:
    shape = case.spec.organisation
    write = requests(
        case.pattern, case.n_requests, shape.bank_groups, shape.banks_per_group, shape.columns
    ).write
    latency = (ours.done - ours.entered)[~write]
    quantities: dict[str, tuple[str, float]] = {
        "last_rd_clk": ("last clocks", int(ours.served[~write].max(initial=0))),
        "last_wr_clk": ("last clocks", int(ours.served[write].max(initial=0))),
        "row_hits": ("row classes", ours.row_hits),
        "row_misses": ("row classes", ours.row_misses),
        "row_conflicts": ("row classes", ours.row_conflicts),
    }
    for column, names in _COUNTS.items():
        quantities[column] = ("command counts", sum(ours.commands[name] for name in names))
    for column, (group, value) in quantities.items():
        if column in case.found:
            yield f"{RAMULATOR} {group}", value, case.found[column]
    if "avg_read_latency_cycles" in case.found and len(latency):
        theirs = case.found["avg_read_latency_cycles"]
        mean = float(latency.mean())
        apart = abs(mean - theirs) > _LATENCY_ROUNDING
        yield f"{RAMULATOR} mean read latency", mean if apart else theirs, theirs
    if case.log is not None and case.log.exists():
        yield from _logged(case)


def _logged(case: Case) -> Iterator[tuple[str, float, float]]:
    """Clock by clock where command and bank agree; -1 stands for ours where they do not."""
    assert case.log is not None
    with gzip.open(case.log, "rt", encoding="utf-8", newline="") as file:
        theirs = list(csv.DictReader(file))
    ours = simulate(case, log_entries=len(theirs) + 1).log.tolist()
    names = {number: name for name, number in command_ids(case.spec).items()}
    peers = {"PREpb": "PRE", "PREab": "PREA", "REFab": "REFA"}
    for mine, row in zip_longest(ours, theirs):
        if mine is None or row is None:
            yield f"{RAMULATOR} logged commands", -1, 0
            continue
        clock, command, bank, _ = mine
        place = int(row["BankGroup"]) * case.spec.organisation.banks_per_group + int(row["Bank"])
        same = names[command] == peers.get(row["command"], row["command"]) and bank == place
        yield f"{RAMULATOR} logged commands", clock if same else -1, int(row["clk"])


def _energies(case: Case) -> Iterator[tuple[str, float, float]]:
    if not isinstance(case.spec.energy, Currents) or case.spec.energy.source != "row":
        return
    counts = {names[0]: int(case.found[c]) for c, names in _COUNTS.items() if c in case.found}
    energy = energy_of(case.spec, counts, 0)
    for column, part in _ENERGIES.items():
        if column in case.found:
            ours = getattr(energy, part) / (case.spec.tck_ps / PS_PER_NS)
            theirs = case.found[column]
            equal = abs(ours - theirs) <= 1e-6 * max(1.0, abs(theirs))
            yield f"{DRAMSIM} energy from its counts", theirs if equal else ours, theirs


def _case(row: Record, folder: Path) -> Case:
    simulator = row.choice("simulator", (RAMULATOR, DRAMSIM))
    spec = _device(row, simulator)
    cells = row.cells
    found = {
        name: float(cells[name])
        for name in (
            "cycles_total",
            "last_rd_clk",
            "last_wr_clk",
            *_COUNTS,
            "row_hits",
            "row_misses",
            "row_conflicts",
            "avg_read_latency_cycles",
            *_ENERGIES,
        )
        if cells.get(name)
    }
    log = cells.get("cmdlog", "")
    return Case(
        row.text("case"),
        simulator,
        spec,
        row.choice("pattern", PATTERNS),
        row.count("n_requests"),
        row.choice("refresh", ("on", "off")) == "on",
        found,
        folder / "dram_traces" / log if log else None,
        int(cells.get("read_queue") or 32),
    )


def _device(row: Record, simulator: str) -> DramSpec:
    """The shipped preset of a row's standard with the row's sizes, timings and currents."""
    known = row.choice("standard", tuple(_PRESET))
    base = dram(_PRESET[known])
    ranks = row.optional_count("ranks", 1) or 1
    if simulator == RAMULATOR and known == "HBM2":
        ranks = base.organisation.ranks
    shape = Organisation(
        ranks=ranks,
        bank_groups=row.count("bank_groups"),
        banks_per_group=row.count("banks_per_group"),
        rows=max(base.organisation.rows, row.count("n_requests")),
        columns=row.count("bursts_per_row"),
        burst_bytes=row.count("bytes_per_request"),
    )
    timings = _timings(row, simulator)
    energy = _currents(row.cells.get("other_parameters", ""))
    try:
        return DramSpec(
            name=row.text("case"),
            standard="dramsim3" if simulator == DRAMSIM else base.standard,
            tck_ps=row.count("tCK_ps"),
            organisation=shape,
            organisation_source="row",
            timings={**base.timings, **timings},
            energy=energy or base.energy,
            sources={**base.sources, "row": Citation(status="published", text=row.file)},
        )
    except ValueError as error:
        raise CodesignError(f"{row.file}:{row.line}: {error}") from None


def _timings(row: Record, simulator: str) -> dict[str, Timing]:
    """The timings that a row states; what DRAMsim3 does not know takes no time."""
    cells = row.cells
    timings = {
        name: Timing(cycles=row.count(name, 0), source="row")
        for name in _TIMINGS
        if cells.get(name)
    }
    timings["nRTP"] = Timing(cycles=row.count("nRTPL"), source="row")
    if simulator == DRAMSIM:
        for name in ("n32AW", "nPPD", "nCS"):
            timings.setdefault(name, Timing(cycles=0, source="row"))
        if "bankgroup_enable=false" in cells.get("other_parameters", ""):
            for name in ("nCCD", "nRRD", "nWTR"):
                timings[f"{name}L"] = timings[f"{name}S"]
    return timings


def _currents(text: str) -> Currents | None:
    values = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    names = ("IDD0", "IDD2N", "IDD3N", "IDD4R", "IDD4W", "IDD5AB")
    if not {"VDD", "devices", *names} <= values.keys():
        return None
    try:
        milliamperes = {f"{name.lower()}_ma": float(values[name]) for name in names}
        return Currents(
            source="row",
            devices=int(values["devices"]),
            vdd_v=float(values["VDD"]),
            **milliamperes,
        )
    except ValueError:
        raise CodesignError(f"other_parameters: currents are not numbers in '{text}'") from None


_SAMPLES = (
    ("ddr4_2400", "stream", 10000, True, 41985, 208, 128, 9792),
    ("ddr4_2400", "stream_1bg", 1000, False, 6031, None, None, None),
    ("ddr4_2400", "stream_1bank", 10000, False, 62761, 79, 78, 9921),
    ("ddr4_2400", "conflict_allbanks", 1000, False, 6523, None, None, None),
    ("ddr4_2400", "random", 1000, False, 6603, None, None, None),
    ("gddr6_14000", "stream", 10000, False, 21750, 286, 270, 9714),
    ("gddr6_14000", "stream_1bg", 1000, False, 4125, None, None, None),
    ("gddr6_14000", "conflict_1bank", 1000, False, 89967, None, None, None),
    ("gddr6_14000", "random", 1000, False, 11171, None, None, None),
    ("hbm2_2000", "stream", 1000, False, 2059, 46, 30, 954),
    ("hbm2_2000", "stream_1bg", 1000, False, 4063, None, None, None),
    ("hbm2_2000", "stream_1bank", 1000, False, 4927, None, None, None),
    ("hbm2_2000", "conflict_1bank", 1000, False, 47984, None, None, None),
    ("hbm2_2000", "conflict_allbanks", 1000, False, 4028, None, None, None),
)
"""CMU-SAFARI/ramulator2 @c5b1c3a: preset, pattern, requests, refresh, ticks, ACT, PREpb, hits."""


def _samples() -> list[Case]:
    cases = []
    for preset, pattern, n, refresh, ticks, acts, precharges, hits in _SAMPLES:
        spec = dram(preset)
        shape = spec.organisation.model_copy(update={"rows": max(spec.organisation.rows, n)})
        named = {"cycles_total": ticks, "n_act": acts, "n_prepb": precharges, "row_hits": hits}
        found = {key: float(value) for key, value in named.items() if value is not None}
        name = f"{preset} {pattern} {n}"
        whole = spec.model_copy(update={"organisation": shape})
        cases.append(Case(name, RAMULATOR, whole, pattern, n, refresh, found))
    return cases
