"""The processors that PIM-GPT was compared with, and what its published ranges ask of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codesign.measure.suite import Group, TableRow, compare
from codesign.metrics.result import Result
from codesign.trace.op import Trace


@dataclass(frozen=True, slots=True)
class Baseline:
    """A processor that decodes one token at a time: every weight and cached value is read once.

    A token takes its bytes over the bandwidth, and `per_operator_s` for each operator of the trace.
    """

    name: str
    bytes_per_value: int
    bandwidth_bytes_per_s: float
    per_operator_s: float
    power_w: float
    assumptions: str

    def token_s(self, trace: Trace) -> float:
        values = sum(op.b_elements for op in trace if op.is_matmul)
        streamed = values * self.bytes_per_value / self.bandwidth_bytes_per_s
        return streamed + len(trace) * self.per_operator_s


T4 = Baseline(
    "T4", 2, 320e9, 10e-6, 70.0,
    "320 GB/s and 70 W (data sheet), FP16; assumed: 10 us from one kernel of eager PyTorch to the "
    "next, and full power throughout",
)  # fmt: skip
XEON = Baseline(
    "Xeon", 4, 128e9, 10e-6, 150.0,
    "the paper's part is not known to us; assumed: six channels of DDR4-2666 (128 GB/s), FP32, "
    "10 us for each operator of eager PyTorch, 150 W",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Published:
    """A range over the eight models, of arXiv 2310.09385v2."""

    quantity: str
    baseline: Baseline
    low: float
    high: float


PUBLISHED = (
    Published("speed-up", T4, 41, 137),
    Published("speed-up", XEON, 631, 1074),
    Published("energy ratio", T4, 123, 383),
    Published("energy ratio", XEON, 320, 602),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A model on PIM-GPT: means over the generated tokens, and bounds for the last of them."""

    model: str
    latency_s: float
    energy_j: float
    row_hit_rate: float
    last: Result
    layers_bound_s: float
    """All in-bank MACs at work on the layers' weights, which is how the paper counts parameters."""
    bound_s: float
    operators: int
    values: float
    """Weights and cached values that a token reads."""
    baseline_s: Mapping[str, float]
    t4_machine_s: float
    """A token on this project's own T4."""

    def ratio(self, what: Published) -> float:
        """Speed-up or energy ratio over the stated model of a baseline."""
        theirs = self.baseline_s[what.baseline.name]
        if what.quantity == "speed-up":
            return theirs / self.latency_s
        return theirs * what.baseline.power_w / self.energy_j

    def operator_s(self, what: Published, speed_up: float) -> float:
        """Time of each operator of a baseline that a speed-up over it would imply."""
        streamed = (
            self.baseline_s[what.baseline.name] - self.operators * what.baseline.per_operator_s
        )
        return (speed_up * self.latency_s - streamed) / self.operators


def range_group(models: Sequence[Measured], what: Published) -> Group:
    """Our range over the models beside the published one, without a bound."""
    low, high = _ends(models, what)
    note = (
        f"ours {low:.0f} to {high:.0f}, published {what.low:g} to {what.high:g}: "
        f"its low end is {_met(what.low, low, high)}, its high end is "
        f"{_met(what.high, low, high)}; {what.baseline.assumptions}"
    )
    name = f"{what.quantity} over {what.baseline.name}"
    return compare(name, [(low, what.low), (high, what.high)], note=note)


def _ends(models: Sequence[Measured], what: Published) -> tuple[float, float]:
    ours = [m.ratio(what) for m in models]
    return min(ours), max(ours)


def _met(end: float, low: float, high: float) -> str:
    return "met" if low <= end <= high else "not met"


def range_rows(models: Sequence[Measured]) -> list[TableRow]:
    """Each published range: which of its ends are met, and what would explain the rest."""
    rows: list[TableRow] = []
    for what in PUBLISHED:
        low, high = _ends(models, what)
        rows.append(
            {
                "section": "Published ranges over the 8 models, end by end",
                "range": f"{what.quantity}, {what.baseline.name}",
                "published": f"{what.low:g} to {what.high:g}",
                "ours": f"{low:.0f} to {high:.0f}",
                "low end": _met(what.low, low, high),
                "high end": _met(what.high, low, high),
                "what the rest asks for": _asked(models, what),
            }
        )
    return rows


def _asked(models: Sequence[Measured], what: Published) -> str:
    """What the baseline would have to be for the published range, with our latency and energy."""

    def span(of: Callable[[Measured], float]) -> str:
        values = [of(m) for m in models]
        return f"{min(values):.3g} to {max(values):.3g}"

    b = what.baseline
    if what.quantity == "energy ratio":
        speed = next(p for p in PUBLISHED if p.baseline is b and p.quantity == "speed-up")
        theirs = sorted((what.low / speed.low, what.high / speed.high))
        return (
            f"{b.name} over PIM-GPT in mean power: published energy over published speed "
            f"{theirs[0]:.2g} to {theirs[1]:.2g}, ours "
            f"{span(lambda m: b.power_w * m.latency_s / m.energy_j)} ({b.power_w:g} W over "
            f"{span(lambda m: m.energy_j / m.latency_s)} W); an end that is met is met "
            "by differences in time and in power that cancel"
        )
    if b is T4:
        each = [
            span(lambda m, x=x: 1e6 * m.operator_s(what, x))  # type: ignore[misc]
            for x in (what.low, what.high)
        ]
        return f"us per operator: {each[0]} for the low end, {each[1]} for the high; ours 10"
    rate = [
        span(lambda m, x=x: 1e-9 * m.values * b.bytes_per_value / (x * m.latency_s))  # type: ignore[misc]
        for x in (what.low, what.high)
    ]
    peak = b.bandwidth_bytes_per_s * 1e-9
    return f"GB/s read: {rate[0]} for the low end, {rate[1]} for the high; ours {peak:g} at most"


def baseline_rows(models: Sequence[Measured]) -> list[TableRow]:
    """What the baselines take, and what they would if our latency and the published ends held."""
    rows: list[TableRow] = []
    for m in models:
        row: TableRow = {
            "section": "Baselines in ms/token: our models, and what the published speed-ups imply",
            "model": m.model,
        }
        for what in PUBLISHED[:2]:
            name = what.baseline.name
            row[f"{name} modelled"] = round(m.baseline_s[name] * 1e3, 2)
            if what.baseline is T4:
                row["machine t4"] = round(m.t4_machine_s * 1e3, 2)
            row[f"{name} implied, low"] = round(m.latency_s * what.low * 1e3, 1)
            row[f"{name} implied, high"] = round(m.latency_s * what.high * 1e3, 1)
        rows.append(row)
    return rows
