"""DRAM presets and standards: readable tables from YAML, lowered to integers for the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from codesign.config import CodesignError, Document, Spec, did_you_mean, load_spec
from codesign.kernels.dram import (
    ALL_CLOSED,
    ANY_STATE,
    BANK,
    CLOSE,
    KEEP,
    OPEN,
    RANK,
    ROW_OPEN,
    DramTables,
)
from codesign.memory.expression import cycles_of

HERE = Path(__file__).parent
Int64 = NDArray[np.int64]
Level = Literal["rank", "bank_group", "bank", "other_ranks"]
STATUSES = Literal["published", "derived", "measured", "unverified", "assumed", "chosen"]
BASE_COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REFA", "REFB")
"""The commands that the controllers send; the order is that of the kernel's constants."""

MOST_GAP_CYCLES = (1 << 16) - 1

_SCOPES = {"rank": RANK, "bank": BANK}
_EFFECTS = {"keep": KEEP, "open": OPEN, "close": CLOSE}
_NEEDS = {"any": ANY_STATE, "open": ROW_OPEN, "closed": ALL_CLOSED}


class Command(Spec):
    """What a command addresses, asks of rows, does to them, and how long it holds its bus."""

    scope: Literal["rank", "bank"]
    needs: Literal["any", "open", "closed"]
    effect: Literal["keep", "open", "close"]
    bus: Literal["any", "row", "column"]
    bus_cycles: int | str = 1
    """Cycles, or the name of a timing."""


class Constraint(Spec):
    """`before` comes at least `gap` cycles after `after` at the same node of `level`.

    With a window of w, the gap counts from the w-th last `after` command.
    """

    level: Level
    after: tuple[str, ...]
    before: tuple[str, ...]
    gap: str
    window: PositiveInt = 1


class Standard(Spec):
    """The commands of a DRAM standard and the distances between them."""

    name: str
    commands: dict[str, Command]
    constraints: tuple[Constraint, ...]

    @model_validator(mode="after")
    def _rules_fit_commands(self) -> Standard:
        """Rules below the rank are of commands to one bank; only ranks and banks have windows."""
        absent = sorted(set(BASE_COMMANDS) - {"REFB"} - self.commands.keys())
        if absent:
            raise CodesignError(f"{self.name} lacks the command {absent[0]}")
        for i, row in enumerate(self.constraints):
            below_rank = row.level in ("bank_group", "bank")
            for name in (*row.after, *row.before):
                if name not in self.commands:
                    raise CodesignError(f"constraints.{i}: no command is called {name}")
                if below_rank and self.commands[name].scope != "bank":
                    raise CodesignError(f"constraints.{i}: {name} is not to one {row.level}")
            if row.window > 1 and row.level not in ("rank", "bank"):
                raise CodesignError(f"constraints.{i}: a window is of a rank or a bank")
        for read, closing in (("RD", "RDA"), ("WR", "WRA")):
            for row in self.constraints:
                if (read in row.before) != (closing in row.before):
                    raise CodesignError(f"{read} and {closing} must wait for the same commands")
        return self


class Organisation(Spec):
    """How many of each part there are; a column is one burst."""

    channels: PositiveInt = 1
    ranks: PositiveInt = 1
    bank_groups: PositiveInt
    banks_per_group: PositiveInt
    rows: PositiveInt
    columns: PositiveInt
    burst_bytes: PositiveInt

    @property
    def banks(self) -> int:
        """Banks of a channel."""
        return self.ranks * self.bank_groups * self.banks_per_group

    @property
    def channel_bytes(self) -> int:
        """Bytes that a channel stores."""
        return self.banks * self.rows * self.columns * self.burst_bytes


class Timing(Spec):
    """A number of cycles and the key of its source."""

    cycles: NonNegativeInt
    source: str


class Citation(Spec):
    """Where numbers come from and how far to trust them."""

    status: STATUSES
    text: str


class Currents(Spec):
    """Supply currents of one device (data-sheet names) and how many devices a rank has."""

    source: str
    devices: PositiveInt
    vdd_v: float
    idd0_ma: float
    idd2n_ma: float
    idd3n_ma: float
    idd4r_ma: float
    idd4w_ma: float
    idd5ab_ma: float


class CommandEnergies(Spec):
    """Energy of each command of a channel, and power of a rank between commands."""

    source: str
    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    background_open_mw: float
    background_closed_mw: float


class DramSpec(Spec):
    """A DRAM: organisation, clock, timings in cycles, energy, and the source of every number."""

    name: str
    standard: str
    tck_ps: PositiveInt
    organisation: Organisation
    organisation_source: str
    timings: dict[str, Timing]
    energy: Currents | CommandEnergies
    refresh: Literal["all_bank", "per_bank", "off"] = "all_bank"
    sources: dict[str, Citation] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _numbers_have_sources(self) -> DramSpec:
        cited = {
            "organisation_source": self.organisation_source,
            "energy.source": self.energy.source,
            **{f"timings.{name}.source": timing.source for name, timing in self.timings.items()},
        }
        for path, key in cited.items():
            if key not in self.sources:
                raise CodesignError(f"{path}: no source is called '{key}'")
        return self

    @property
    def cycles(self) -> dict[str, int]:
        """Cycles of every timing by name."""
        return {name: timing.cycles for name, timing in self.timings.items()}

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> DramSpec:
        """A copy that does not keep what was worked out from the old values."""
        copy = super().model_copy(update=update, deep=deep)
        for name in ("tables", "key"):
            copy.__dict__.pop(name, None)
        return copy

    @cached_property
    def key(self) -> str:
        """The fingerprint, worked out once."""
        return self.fingerprint

    @cached_property
    def tables(self) -> DramTables:
        """The integer tables of one channel. Raises CodesignError where a gap names no timing."""
        ids = command_ids(self)
        return tables_of(self.organisation, standard(self.standard), rules(self), ids, self.cycles)

    @property
    def peak_bytes_per_cycle(self) -> float:
        """What the pins of all channels carry at most."""
        t, o = self.cycles, self.organisation
        pins = o.ranks if self.ranks_have_own_pins else 1
        return o.channels * pins * o.burst_bytes / max(t["nBL"], t["nCCDS"])

    @property
    def ranks_have_own_pins(self) -> bool:
        """Whether ranks are pseudo-channels, each with its share of the data bus."""
        return all(row.level != "other_ranks" for row in standard(self.standard).constraints)


@lru_cache(maxsize=64)
def standard(name: str) -> Standard:
    """The standard of that name. Raises CodesignError with the nearest name if there is none."""
    return load_spec(Standard, _named(HERE / "standards", name, "DRAM standard"))


def dram(source: str | Path | Document, overrides: Mapping[str, object] | None = None) -> DramSpec:
    """A DRAM from the name of a preset, a file, or a parsed document.

    >>> dram("ddr4_2400").organisation.banks
    16
    """
    if isinstance(source, str) and "/" not in source and not source.endswith((".yaml", ".yml")):
        source = _named(HERE / "presets", source, "DRAM preset")
    elif isinstance(source, str):
        source = Path(source)
    spec = load_spec(DramSpec, source, overrides or {})
    spec.tables  # noqa: B018 - a gap that names no timing is a fault of the file
    return spec


def presets() -> tuple[str, ...]:
    """Names of the DRAMs that come with the package."""
    return tuple(sorted(path.stem for path in (HERE / "presets").glob("*.yaml")))


def _named(folder: Path, name: str, what: str) -> Path:
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        nearest = did_you_mean(name, names)
        hint = f"; did you mean '{nearest}'?" if nearest else f"; there are {', '.join(names)}"
        raise CodesignError(f"no {what} is called '{name}'{hint}")
    return folder / f"{name}.yaml"


class Rule(Spec):
    """A constraint on one pair of commands, in cycles; `window` 1 means since the last one."""

    level: Level
    after: tuple[str, ...]
    before: tuple[str, ...]
    gap_cycles: int
    window: int


def rules(spec: DramSpec) -> tuple[Rule, ...]:
    """Every timing rule of a DRAM with its gap in cycles; the command buses come on top."""
    table = standard(spec.standard)
    timings = spec.cycles
    rows = [
        Rule(
            level=row.level,
            after=row.after,
            before=row.before,
            gap_cycles=cycles_of(row.gap, timings),
            window=row.window,
        )
        for row in table.constraints
    ]
    for row in rows:
        if row.gap_cycles > MOST_GAP_CYCLES:
            raise CodesignError(
                f"{spec.name}: {row.after[0]} to {row.before[0]} takes {row.gap_cycles} cycles,"
                f" more than the {MOST_GAP_CYCLES} that the kernels count"
            )
        if {"RD", "WR"} & set(row.after) and "PRE" in row.before and row.gap_cycles < 1:
            raise CodesignError(f"{spec.name}: {row.after[0]} to PRE must take a cycle at least")
    return tuple(rows)


def command_ids(spec: DramSpec) -> dict[str, int]:
    """Number of every command: the controllers' own first, then what the standard adds."""
    added = [name for name in standard(spec.standard).commands if name not in BASE_COMMANDS]
    return {name: i for i, name in enumerate((*BASE_COMMANDS, *added))}


def tables_of(
    shape: Organisation,
    table: Standard,
    rows: tuple[Rule, ...],
    ids: Mapping[str, int],
    timings: Mapping[str, int],
) -> DramTables:
    """Integer tables for any set of rules over the commands of a standard."""
    incoming = {name: tuple(row for row in rows if name in row.before) for name in ids}
    kinds = {held: i for i, held in enumerate(dict.fromkeys(incoming.values()), start=1)}
    kind = {name: kinds[incoming[name]] for name in ids}
    absent = Command(scope="bank", needs="any", effect="keep", bus="any")
    windowed = [row for row in rows if row.window > 1]
    rings = {row: i for i, row in enumerate(windowed)}
    commands: list[tuple[int, ...]] = []
    rows_after: list[tuple[int, ...]] = []
    places: list[Int64] = []
    for name in ids:
        facts = table.commands.get(name, absent)
        gaps, windows = _waits_of(name, rows, kind, rings)
        first = len(ids) + len(rows_after)
        for (level, after), gap in sorted(gaps.items()):
            # A wider rule that holds back for as long says all that a narrower one does.
            if any(gaps.get((wider, after), -1) >= gap for wider in _WIDER.get(level, ())):
                continue
            reached = _reached(level, shape)
            rows_after += [(after, gap)] * len(reached)
            places += [node + after * (shape.banks + shape.ranks + 1) for node in reached]
        past = len(ids) + len(rows_after)
        for ring, after, gap, window, level in sorted(windows):
            rows_after.append((after, gap, ring, window))
            places += _reached(level, shape)
        commands.append(
            (
                _SCOPES[facts.scope],
                _EFFECTS[facts.effect],
                _NEEDS[facts.needs],
                kind[name],
                int(facts.bus == "column"),
                cycles_of(str(facts.bus_cycles), timings),
                first,
                past,
                past,
                past + len(windows),
            )
        )
    book = np.zeros((len(ids) + len(rows_after), 10), dtype=np.int64)
    for i, entry in enumerate((*commands, *rows_after)):
        book[i, : len(entry)] = entry
    bank = np.arange(shape.banks)
    per_rank = shape.bank_groups * shape.banks_per_group
    place = np.zeros((shape.banks, len(book)), dtype=np.int64)
    place[:, 0], place[:, 1] = shape.banks + bank // per_rank, bank // per_rank * per_rank
    for k, reached_from in enumerate(places, start=len(ids)):
        place[:, k] = reached_from
    ring_length = max((row.window for row in rows), default=1)
    sizes = (shape.ranks, per_rank, max(len(kinds), 2), len(windowed), ring_length, len(ids))
    return DramTables(place=place, book=book, shape=np.array(sizes, dtype=np.int64))


def _waits_of(
    name: str, rows: tuple[Rule, ...], kind: Mapping[str, int], rings: Mapping[Rule, int]
) -> tuple[dict[tuple[Level, int], int], set[tuple[int, int, int, int, Level]]]:
    """What a command makes others wait: the longest gap by level and kind, and the windows.

    A window is (ring of its clocks, kind that waits, gap, commands in the window, level).
    """
    gaps: dict[tuple[Level, int], int] = {}
    windows: set[tuple[int, int, int, int, Level]] = set()
    for row in rows:
        for other in row.before if name in row.after else ():
            after = kind[other]
            if row.window == 1:
                gaps[row.level, after] = max(gaps.get((row.level, after), 0), row.gap_cycles)
            else:
                windows.add((rings[row], after, row.gap_cycles, row.window, row.level))
    return gaps, windows


_WIDER: Mapping[Level, tuple[Level, ...]] = {
    "bank": ("bank_group", "rank"),
    "bank_group": ("rank",),
}
"""Levels whose rules hold back all commands that a rule of a level does."""


def _reached(level: Level, shape: Organisation) -> list[Int64]:
    """The nodes at which a rule of a level holds commands back, each by bank of the one before."""
    bank = np.arange(shape.banks)
    per_rank = shape.bank_groups * shape.banks_per_group
    rank = bank // per_rank
    if level == "bank":
        return [bank]
    if level == "bank_group":
        first = bank // shape.banks_per_group * shape.banks_per_group
        return [first + i for i in range(shape.banks_per_group)]
    if level == "rank":
        return [shape.banks + rank]
    return [shape.banks + (rank + other) % shape.ranks for other in range(1, shape.ranks)]
