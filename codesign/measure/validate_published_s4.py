"""S4, S10, S30 and S40 against vendor, ByteMLPerf and MLPerf throughputs and latencies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import log
from pathlib import Path

from codesign.arch import load_arch
from codesign.evaluate import evaluate
from codesign.evaluate import run as run_steps
from codesign.measure.s4_networks import network
from codesign.measure.suite import TableRow, ValidationReport, compare, left_out, report
from codesign.trace.op import Trace
from codesign.trace.requests import in_flight
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload
from codesign.units import HZ_PER_MHZ, MS_PER_S

_CALIBRATION_BOUND, _HELD_OUT_BOUND = 0.15, 0.20
RATIOS = (1, 2, 4, 8, 16, 32)
_BANK = 32

DENSE_ROWS: dict[str, float] = {
    "ResNet50": 438, "ResNet50_vd": 431, "ResNet101": 271, "InceptionV3": 207, "InceptionV4": 92,
    "DarkNet53": 267, "ShuffleNetV2": 2453, "VGG16": 70, "VGG19": 65, "BERT-base": 469,
}  # fmt: skip
"""Frames per second of one S4, BF16, four cores with batch 1 (CNN) or 8 (BERT, 128 tokens) each.

Source: MoffettSystem/moffett-modelzoo-paddle, img/paddle_result.png (February 2023).
"""

CALL_ROWS: dict[str, float] = {
    "ResNet-50": 52423.97, "BERT-base": 7738.91, "RoBERTa-base": 8107.39, "ALBERT-base": 10824.99,
}  # fmt: skip
"""Queries per second of one S30 at 16x, INT8, one call at a time.

ResNet-50 has batch 48, the transformers 64. Source: bytedance/ByteMLPerf,
general_perf/reports/SPU/*/result.json (2023-07).
"""


@dataclass(frozen=True, slots=True)
class Submission:
    """A throughput of MLPerf Inference, open division, whose sparsity factor is not stated."""

    round: str
    card: str
    cards: int
    model: str
    rate: float


SUBMISSIONS: tuple[Submission, ...] = (
    Submission("v2.1", "s4", 1, "resnet50", 31678.6),
    Submission("v2.1", "s10", 1, "resnet50", 65592.8),
    Submission("v2.1", "s30", 1, "resnet50", 95784.3),
    Submission("v3.0", "s10", 1, "resnet50", 64149.9),
    Submission("v3.0", "s30", 1, "resnet50", 96049.2),
    Submission("v3.0 H3C", "s30", 1, "resnet50", 96597.3),
    Submission("v3.0 Supermicro", "s30", 1, "resnet50", 96823.6),
    Submission("v3.0 preview", "s40", 1, "resnet50", 127375.0),
    Submission("v3.0 Dell", "s30", 4, "resnet50", 383520.0),
    Submission("v2.1", "s4", 1, "bert_large", 1219.41),
    Submission("v2.1", "s10", 1, "bert_large", 2535.96),
    Submission("v2.1", "s30", 1, "bert_large", 3836.89),
    Submission("v3.0", "s10", 1, "bert_large", 2548.22),
    Submission("v3.0", "s30", 1, "bert_large", 3840.74),
    Submission("v3.0 preview", "s40", 1, "bert_large", 5068.94),
)
"""Source: mlcommons/inference_results_v2.1 and v3.0, open/Moffett, mlperf_log_summary.txt."""

MIN_LATENCY_MS = {"resnet50": 9.28, "bert_large": 52.6}
"""Smallest latency of the Server scenario on S30, v3.0; the same logs."""
QUEUED_BATCHES = {"resnet50": 8, "bert_large": 0}
"""Host queue of the Server scenario in the vendor's harness (v3.0, main_default.cpp)."""
T4_RATE = {"resnet50": 5862.22, "bert_large": 375.886}
"""MLPerf closed, INT8: ResNet-50 v2.0 Dell XE2420, BERT-large-99 v1.1 Lenovo."""

_CHIP_BATCH = {"resnet50": 16, "bert_large": 32}
_MODE = {"resnet50": "single", "bert_large": "split"}
"""How the vendor's harness runs a batch on a chip (v3.0, spu_backend)."""
_PASS = {"resnet50": 16, "bert_large": 4}
"""Items of a chip that run at once: four images or one sequence on each core."""
_TOKENS = 384


def sparse(model: str, batch: int, ratio: int) -> Trace:
    """An INT8 model with one weight of `ratio` kept in all convolutions and linear layers."""
    if model == "resnet50":
        trace = load_workload(model, batch=batch, dtype="int8")
    else:
        trace = load_workload(model, batch=batch, seq=_TOKENS, dtype="int8")
    if ratio == 1:
        return trace
    pattern = f"{_BANK // ratio}:{_BANK}"
    layers = {"conv1": pattern, "*": pattern} if model == "resnet50" else {"*": pattern}
    return sparsify(trace, layers)


@cache
def rate(card: str, model: str, ratio: int) -> float:
    """Items per second of a card that is never out of work, inputs copied beside the work."""
    machine = load_arch(card, {"mode": _MODE[model]})
    chips = machine.spec.chips
    batch, streams = _PASS[model] * chips, 1 if model == "resnet50" else 2
    trace = sparse(model, batch, ratio)
    few, many = (
        run_steps(in_flight(trace, times * streams, streams), machine)[1].cycles for times in (2, 4)
    )
    clock_hz = float(machine.spec.clock_mhz) * HZ_PER_MHZ
    return float(2 * streams * batch * clock_hz / (many - few))


@dataclass(frozen=True, slots=True)
class Inferred:
    """Two neighbouring ratios between which a throughput lies, and how far along (0 to 1)."""

    low: int
    high: int
    along: float

    def rate(self, card: str, model: str) -> float:
        """Throughput of a card at this place between the ratios."""
        low, high = rate(card, model, self.low), rate(card, model, self.high)
        return float(low ** (1 - self.along) * high**self.along)

    def __str__(self) -> str:
        if self.along == 1:
            return f"above {self.high}x"
        return f"{self.low}x to {self.high}x"


@cache
def inferred(model: str) -> Inferred:
    """Where the S4 submission of a model lies; beyond the last ratio it stands at the last one."""
    published = next(s.rate for s in SUBMISSIONS if s.card == "s4" and s.model == model)
    for low, high in pairwise(RATIOS):
        slow, fast = rate("s4", model, low), rate("s4", model, high)
        if published <= fast:
            return Inferred(low, high, max(0.0, log(published / slow) / log(fast / slow)))
    return Inferred(RATIOS[-2], RATIOS[-1], 1.0)


def run(path: Path | None) -> ValidationReport:
    """Simulate every row; constants are fitted on the first two groups only."""
    dense, calls = dense_rates(), call_rates()
    calibration = [(dense[name], fps) for name, fps in DENSE_ROWS.items()]
    calibration += [(calls[name], qps) for name, qps in CALL_ROWS.items()]
    held = held_out()
    table: list[TableRow] = [
        _row("dense BF16 on one S4, frames/s (calibration)", name, dense[name], fps)
        for name, fps in DENSE_ROWS.items()
    ]
    table += [
        _row("ByteMLPerf at 16x on S30, queries/s (calibration)", name, calls[name], qps)
        for name, qps in CALL_ROWS.items()
    ]
    table += [
        _row("MLPerf at the sparsity inferred from S4 (held out)", name, ours, theirs)
        for name, ours, theirs in held
    ]
    table += intervals() + curves()
    note = (
        "fitted: dram_efficiency and maps on the dense table, vector.lanes and host.call_cycles on "
        "ByteMLPerf; fills_square_kernels is a reading of the two Inception rows"
    )
    return report(
        "published_s4",
        [
            compare("calibration rows", calibration, within=_CALIBRATION_BOUND, note=note),
            compare("held-out rows", [(a, b) for _, a, b in held], within=_HELD_OUT_BOUND),
        ],
        [
            compare("dense BF16 table", calibration[: len(DENSE_ROWS)]),
            compare("ByteMLPerf at 16x", calibration[len(DENSE_ROWS) :]),
            left_out("Conformer (ByteMLPerf)", 1, "its sources give 8x and 16x"),
            left_out("GPT-J (MLPerf v3.1)", 3, "its split over chips is not published"),
            left_out("BLOOM and GPT-J demos", 3, "sparsity and split are not published"),
        ],
        table=table,
    )


def dense_rates() -> dict[str, float]:
    """Frames per second of the dense networks on one S4, each core on items of its own."""
    machine = load_arch("s4", {"mode": "single"})
    out = {}
    for name in DENSE_ROWS:
        if name == "BERT-base":
            batch, trace = 32, load_workload("bert_base", batch=32, seq=128, dtype="bf16")
        else:
            batch, trace = 4, network(name, 4, "bf16")
        out[name] = batch / evaluate(trace, machine).latency_s
    return out


def call_rates() -> dict[str, float]:
    """Queries per second of one S30 that answers a batch before it takes the next.

    The three transformers have the same layers but for embeddings; a batch runs in four passes, two
    at a time.
    """
    machine = load_arch("s30")
    seconds = evaluate(sparse("resnet50", 48, 16), machine).latency_s
    passes = in_flight(sparse("bert_base", 16, 16), 4, streams=2)
    transformer = 64 / evaluate(passes, machine).latency_s
    return {"ResNet-50": 48 / seconds} | dict.fromkeys(list(CALL_ROWS)[1:], transformer)


def held_out() -> list[tuple[str, float, float]]:
    """Name, our number and the published one of every row from which nothing was taken."""
    rows = []
    for s in SUBMISSIONS:
        place = inferred(s.model)
        if s.card != "s4" or place.along == 1:
            ours = s.cards * place.rate(s.card, s.model)
            cards = f"{s.cards} x " if s.cards > 1 else ""
            rows.append((f"{s.model} {cards}{s.card} {s.round}, 1/s", ours, s.rate))
    for model, latency_ms in MIN_LATENCY_MS.items():
        batch = _CHIP_BATCH[model] * load_arch("s30").spec.chips
        period_ms = MS_PER_S * batch / inferred(model).rate("s30", model)
        # A batch waits for those in the queue and is itself double-buffered, like each of them.
        ours_ms = 2 * (QUEUED_BATCHES[model] + 1) * period_ms
        rows.append((f"{model} s30 smallest latency, ms", ours_ms, latency_ms))
    return rows


def intervals() -> list[TableRow]:
    """The undisclosed sparsity of the S4 submissions, and their throughput over that of a T4."""
    rows: list[TableRow] = []
    for model, t4 in T4_RATE.items():
        published = next(s.rate for s in SUBMISSIONS if s.card == "s4" and s.model == model)
        rows.append(
            {
                "section": "sparsity inferred from the S4 submissions, and S4 over T4",
                "model": model,
                "inferred": str(inferred(model)),
                "published/T4": published / t4,
                "at 16x/T4": rate("s4", model, 16) / t4,
                "at 32x/T4": rate("s4", model, 32) / t4,
            }
        )
    return rows


def curves() -> list[TableRow]:
    """Speed-up over dense on one S4 for every ratio of the hardware."""
    return [
        {
            "section": "speed-up over sparsity on S4 (arXiv 2207.08006, figure 2: shape only)",
            "ratio": ratio,
            **{
                model: rate("s4", model, ratio) / rate("s4", model, 1)
                for model in ("resnet50", "bert_large")
            },
        }
        for ratio in RATIOS
    ]


def _row(section: str, name: str, ours: float, theirs: float) -> TableRow:
    return {
        "section": section, "row": name, "ours": ours, "published": theirs,
        "error": ours / theirs - 1,
    }  # fmt: skip
