"""Writes fitted constants into machine files and into the files beside this module."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codesign.arch.gpu_kernels import KernelLibrary
from codesign.measure.gpu_fit import KERNEL_FIELDS, Fit
from codesign.measure.gpu_operators import Timer
from codesign.measure.gpu_power import PowerLaw
from codesign.measure.gpu_rows import Protocol
from codesign.measure.gpu_settings import PARTS, Part, settings
from codesign.measure.gpu_stream_fit import StreamFit
from codesign.measure.gpu_transfer import Lent
from codesign.units import DTypeName

SPLIT = "the half of (n,k) with even md5"
DEVICE_SHARE = 0.35
"""Of a MAC's board energy, what its tensor core draws: the most that is under every board's."""
_LAW = "calibrate.fit_power"
_PROTOCOL_HEAD = """\
# How the origins of measured products timed. Written by `python -m codesign.measure.calibrate`:
# fitted on {split}. An entry without gpu is for boards without their own.
protocols:
"""
_TIMER_HEAD = """\
# How vector operators were timed. Written by `python -m codesign.measure.calibrate`.
timers:
"""
_TRANSFER_HEAD = """\
# What the rows of all other boards say about each board, none of its own among them.
# Written by `python -m codesign.measure.calibrate`; `codesign validate gpu` scores it.
boards:
"""


@dataclass(frozen=True)
class Calibrated:
    """All that a calibration found."""

    boards: Mapping[tuple[str, Part], Fit]
    law: PowerLaw
    families: Mapping[tuple[bool, Part], Fit]
    protocols: tuple[Protocol, ...]
    rates: Mapping[str, Mapping[DTypeName, float]]
    """Sustained rates of types that only other origins measured, by machine."""
    transfers: Mapping[str, Lent]
    streams: StreamFit


@dataclass(frozen=True)
class _Kernels:
    values: Mapping[str, float]
    sustained: Mapping[DTypeName, float]
    status: str
    source: str


def number(value: float) -> str:
    """A constant as it is written, four digits.

    >>> number(12345.6), number(0.83333)
    ('1.235e+04', '0.8333')
    """
    return f"{value:.4g}"


def write_machine(path: Path, name: str, found: Calibrated) -> None:
    """Replace the fitted constants of a machine file, and say where they come from."""
    text = path.read_text()
    for part in PARTS:
        if re.search(rf"^{part}:", text, re.MULTILINE):
            text = _with_kernels(text, part, _kernels(text, name, part, found))
    law = found.law
    values = {
        "mac_pj_at_1ghz": law.energy(name),
        "exponent": law.exponent,
        "sparse_factor": law.sparse_factor,
    }
    for key, value in values.items():
        text = re.sub(rf"^(power: .*\b{key}: )[^,}}]+", rf"\g<1>{number(value)}", text, flags=re.M)
    text = _with_source(text, "power.mac_pj_at_1ghz", *_energy_source(name))
    device_pj = number(law.energy(name) * DEVICE_SHARE)
    text = re.sub(r"^energy: \{mac_pj: [^,}]+", f"energy: {{mac_pj: {device_pj}", text, flags=re.M)
    shared = f"{_LAW} to large products of all calibrated boards; {SPLIT}"
    for key in ("power.exponent", "power.sparse_factor"):
        text = _with_source(text, key, "measured", shared)
    path.write_text(_with_streams(text, name, found.streams))


def _with_streams(text: str, name: str, fit: StreamFit) -> str:
    rows = settings().streams
    if name not in (rows.machine, *rows.also):
        return text
    value = number(fit.machine.spec.streams.dram_efficiency)
    text = re.sub(r"^streams: .*$", f"streams: {{dram_efficiency: {value}}}", text, flags=re.M)
    source = (
        f"calibrate.fit_streams to {rows.origin}, {rows.gpu}; the half of (m,n) with even md5, "
        f"{fit.rows} rows, mean |log error| {fit.error:.3f}"
    )
    own = name == rows.machine
    status = "measured" if own else "assumed"
    return _with_source(text, "streams", status, source if own else f"as {rows.machine}")


def _energy_source(name: str) -> tuple[str, str]:
    plan = settings()
    process = plan.process_of(name)
    if process is not None:
        return "measured", f"{_LAW} to large products of calibrated boards in {process}; {SPLIT}"
    claimed = plan.claimed_process_of(name)
    if claimed is not None:
        boards = " and ".join(plan.claimed_processes[claimed].boards)
        source = f"calibrate.fit_claimed to published rates of {boards}, gpu_board_claims.yaml"
        return "measured", source
    one = next(d for d in plan.derived_processes.values() if name in d.machines)
    return "derived", f"that of {one.of} times {one.factor}: {one.source}"


def _kernels(text: str, name: str, part: Part, found: Calibrated) -> _Kernels:
    own = found.boards.get((name, part))
    if own is not None:
        library = own.cases[0].kernels
        origin = own.cases[0].rows
        source = (
            f"calibrate.fit_board to {origin.origin}, {origin.library}, {origin.gpu}; {SPLIT}, "
            f"{own.rows} rows, mean |log error| {own.error:.3f}"
        )
        rates = dict(library.sustained)
        if part == "dense":
            rates.update(found.rates.get(name, {}))
        if "fp16" in rates:
            rates.setdefault("bf16", rates["fp16"])
        return _Kernels(_values(library), rates, "measured", source)
    chip = settings().same_chip[part].get(name)
    if chip is not None:
        library = found.boards[chip, part].cases[0].kernels
        source = f"no row of this board was used: kernels of {chip}, which has the same chip"
        return _Kernels(_values(library), {}, "assumed", source)
    wide = bool(re.search(r"^  (warp_groups: true|tensor_memory: )", text, re.MULTILINE))
    family = found.families[wide, part]
    boards = sorted({case.machine.spec.name for case in family.cases})
    source = f"no row of this board was used: calibrate.fit_family to {', '.join(boards)}"
    return _Kernels(_values(family.cases[0].kernels), {}, "assumed", source)


def _values(library: KernelLibrary) -> dict[str, float]:
    return {name: getattr(library, name) for name in KERNEL_FIELDS}


def _with_kernels(text: str, part: str, kernels: _Kernels) -> str:
    block = re.search(rf"^{part}:\n(?:  .*\n)+", text, re.MULTILINE)
    assert block is not None
    changed = block.group()
    for key, value in kernels.values.items():
        changed = re.sub(rf"^  {key}: .*$", f"  {key}: {number(value)}", changed, flags=re.M)
    rates = _row(dict(sorted(kernels.sustained.items())))
    changed = re.sub(r"^  sustained: .*$", f"  sustained: {rates}", changed, flags=re.M)
    return _with_source(text.replace(block.group(), changed), part, kernels.status, kernels.source)


def _with_source(text: str, key: str, status: str, source: str) -> str:
    line = f'  {key}: {{status: {status}, source: "{source}"}}'
    return re.sub(rf"^  {re.escape(key)}: {{status.*$", lambda _: line, text, flags=re.M)


def write_protocols(path: Path, protocols: Sequence[Protocol]) -> None:
    """Write how each origin timed, those for boards without an entry first."""
    lines = [_PROTOCOL_HEAD.format(split=SPLIT)]
    for one in protocols:
        plain = Protocol(origin="", library="", offset_us=0, warm=0, burst=0)
        entry = one.model_dump()
        shown = {
            key: value
            for key, value in entry.items()
            if key in ("origin", "library", "offset_us", "warm", "burst")
            or value != getattr(plain, key)
        }
        for i, (key, value) in enumerate(shown.items()):
            lines.append(f"{'  - ' if i == 0 else '    '}{key}: {_scalar(value)}\n")
    path.write_text("".join(lines))


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number(value)
    text = str(value)
    return f'"{text}"' if re.search(r"[:,]", text) else text


def write_timers(path: Path, timers: Sequence[Timer]) -> None:
    """Write how an origin timed vector operators."""
    lines = [_TIMER_HEAD]
    for one in timers:
        lines.append(f"  - {_row(one.model_dump())}\n")
    path.write_text("".join(lines))


def write_transfers(path: Path, transfers: Mapping[str, Lent]) -> None:
    """Write what each board is lent when it is treated as unknown."""
    lines = [_TRANSFER_HEAD]
    for name, one in transfers.items():
        lines.append(f"  {name}:\n")
        for key in ("exponent", "sparse_factor", "mac_pj_at_1ghz"):
            lines.append(f"    {key}: {number(getattr(one, key))}\n")
        lines.append(f"    bursts: {_row(one.bursts)}\n    kernels:\n")
        for part, values in one.kernels.items():
            lines.append(f"      {part}: {_row(values)}\n")
    path.write_text("".join(lines))


def _row(values: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {_scalar(value)}" for key, value in values.items()) + "}"
