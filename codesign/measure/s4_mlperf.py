"""MLPerf submissions of S4 cards: throughputs whose sparsity is not stated, inferred from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import log
from typing import Any

from codesign.arch import load_arch
from codesign.evaluate import simulated_s
from codesign.trace.op import Trace
from codesign.trace.requests import in_flight
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload
from codesign.units import HZ_PER_MHZ, MS_PER_S

RATIOS = (1, 2, 4, 8, 16, 32)
_BANK = 32


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

SERVER_RATE = {
    ("resnet50", "s10"): 60997.84, ("resnet50", "s30"): 83997.67, ("bert_large", "s10"): 2003.62,
    ("bert_large", "s30"): 3008.80,
}  # fmt: skip
"""Queries per second of the Server scenario, v3.0; the same logs.

They come one by one at random. Batches of 16 or 32 of them are so regular that waiting, even at
95 % of the rate without a limit, stays well below the limits of 15 and 130 ms.
"""
MIN_LATENCY_MS = {"resnet50": 9.28, "bert_large": 52.6}
"""Smallest latency of the Server scenario on S30, v3.0; the same logs."""
_QUEUED_BATCHES = {"resnet50": 8, "bert_large": 0}
"""Host queue of the Server scenario in the vendor's harness (v3.0, main_default.cpp)."""
_CHIP_BATCH = {"resnet50": 16, "bert_large": 32}


@dataclass(frozen=True, slots=True)
class Job:
    """What a chip runs at once, as the vendor's harness maps it (v3.0, spu_backend)."""

    workload: str
    seq: int | None
    mode: str
    batch: int
    """Images, or rows of `seq` tokens."""
    streams: int
    """Requests whose operators take turns on the cores."""
    ahead: int
    """Requests whose inputs are there or on their way."""


RESNET = Job("resnet50", None, "single", 16, 1, 4)
"""Four streams copy the inputs of the next batches beside the work."""
BERT = Job("bert_large", 128, "split", 32, 2, 4)
"""The device computes rows of 128 tokens: the harness reads results of [-1, 128, 2] values.

Source: mlcommons/inference_results_v2.1, open/Moffett, sut/Offline/bert/run_bert.py.
"""
BERT_384 = Job("bert_large", 384, "split", 4, 2, 4)
"""As if each question were one padded sequence on a core."""
JOBS = {"resnet50": RESNET, "bert_large": BERT}

_TOKENS_PER_SAMPLE = 384 * (1 - 0.54)
"""54 % of SQuAD v1.1 at 384 tokens is padding (abstract of openreview.net forum 3nzKUh9a4M)."""
ROWS_PER_SAMPLE: Mapping[str, float] = {
    "no padding": _TOKENS_PER_SAMPLE / 128, "whole rows": 2, "384 tokens": 3,
}  # fmt: skip
"""Rows that a question takes. How the harness cuts it is compiled code; these enclose it."""
_ASSUMED_ROWS = ROWS_PER_SAMPLE["whole rows"]


def sparse(trace: Trace, ratio: int) -> Trace:
    """A model with one weight of `ratio` kept in all convolutions and linear layers."""
    if ratio == 1:
        return trace
    pattern = f"{_BANK // ratio}:{_BANK}"
    first = {"conv1": pattern} if trace.name == "resnet50" else {}
    return sparsify(trace, {**first, "*": pattern})


@cache
def rate(card: str, job: Job, ratio: int) -> float:
    """Images or rows per second of a card that is never out of work, copies beside the work.

    That is what each further request adds, the second as much as all after it.
    """
    return _added(card, job, ratio, 1)


def _added(card: str, job: Job, ratio: int, after: int) -> float:
    """Images or rows per second that requests add after the first `after` of each stream."""
    machine = load_arch(card, {"mode": job.mode})
    batch, streams = job.batch * machine.spec.chips, job.streams
    trace = sparse(load_workload(job.workload, batch=batch, seq=job.seq, dtype="int8"), ratio)
    few, many = (
        simulated_s(in_flight(trace, times * streams, streams, job.ahead), machine)
        for times in (after, after + 1)
    )
    return float(streams * batch / (many - few))


@dataclass(frozen=True, slots=True)
class Inferred:
    """Two neighbouring ratios between which a rate lies, and how far along (0 to 1)."""

    job: Job
    low: int
    high: int
    along: float

    def rate(self, card: str) -> float:
        """Images or rows per second of a card at this place between the ratios."""
        low, high = rate(card, self.job, self.low), rate(card, self.job, self.high)
        return float(low ** (1 - self.along) * high**self.along)

    def __str__(self) -> str:
        if self.along == 1:
            return f"above {self.high}x"
        return f"{self.low}x to {self.high}x"


def published(model: str) -> float:
    """Samples per second of the submission on one S4."""
    return next(s.rate for s in SUBMISSIONS if s.card == "s4" and s.model == model)


def inferred(job: Job, wanted: float) -> Inferred:
    """Where a rate of one S4 lies; beyond the last ratio it stands at the last one."""
    for low, high in pairwise(RATIOS):
        slow, fast = rate("s4", job, low), rate("s4", job, high)
        if wanted <= fast:
            return Inferred(job, low, high, max(0.0, log(wanted / slow) / log(fast / slow)))
    return Inferred(job, RATIOS[-2], RATIOS[-1], 1.0)


def place(model: str) -> tuple[Inferred, float]:
    """The sparsity inferred from the S4 submission of a model, and the rows of a sample."""
    rows = _ASSUMED_ROWS if model == "bert_large" else 1
    return inferred(JOBS[model], published(model) * rows), rows


def held_out() -> list[tuple[str, float, float]]:
    """Name, our number and the published one of every row from which nothing was taken.

    The S4 submissions gave the sparsity, at which the other cards and the latencies are predicted.
    """
    found = {model: place(model) for model in JOBS}
    out = []
    for s in SUBMISSIONS:
        at, rows = found[s.model]
        if s.card != "s4" or at.along == 1:
            cards = f"{s.cards} x " if s.cards > 1 else ""
            ours = s.cards * at.rate(s.card) / rows
            out.append((f"{s.model} {cards}{s.card} {s.round}, 1/s", ours, s.rate))
    for (model, card), queries in SERVER_RATE.items():
        at, rows = found[model]
        out.append((f"{model} {card} v3.0 Server, 1/s", at.rate(card) / rows, queries))
    for model, latency_ms in MIN_LATENCY_MS.items():
        at, rows = found[model]
        batch = _CHIP_BATCH[model] * load_arch("s30").spec.chips
        period_ms = MS_PER_S * batch * rows / at.rate("s30")
        # A batch waits for those in the queue and is itself double-buffered, like each of them.
        ours_ms = 2 * (_QUEUED_BATCHES[model] + 1) * period_ms
        out.append((f"{model} s30 smallest latency, ms", ours_ms, latency_ms))
    return out


GPTJ_RATE = {1: 23.2809, 4: 91.574, 8: 170.586}
"""Samples per second by S30 cards: v3.1, open/Moffett, H3C and Inspur. Sparsity not stated."""
_GPTJ = {"heads": 16}
"""What turns OPT-6.7B's layers into GPT-J's: 4096 wide, 16384 inside, 16 heads; 28 of them."""
_GPTJ_LAYERS = 28
_PROMPT, _ANSWER = 896, 69
"""Tokens of a prompt and of an answer.

An article has 781 words on average (arXiv 1704.04368); words and instruction are taken as 896
tokens. The answers of the v3.1 log have 4,015,438 characters in 13,368 samples, 4.4 to a token.
"""
_GPTJ_BATCH = 32
"""Sequences of a chip that decode together: not published."""


@cache
def gptj_rate(ratio: int) -> float:
    """Samples per second of one chip: each prompt, then all answers step by step.

    The cores share every layer's outputs, as the harness sets them (v3.1, device_gptj.cpp).
    """
    machine = load_arch("s4", {"mode": "broadcast"})

    def seconds(**size: Any) -> float:
        """A pass of all layers, extrapolated from one and two."""
        one, two = (
            load_workload("opt_6_7b", dtype="int8", overrides={**_GPTJ, "depth": depth}, **size)
            for depth in (1, 2)
        )
        first, both = (simulated_s(sparse(trace, ratio), machine) for trace in (one, two))
        return first + (_GPTJ_LAYERS - 1) * (both - first)

    prompts = _GPTJ_BATCH * seconds(phase="prefill", batch=1, seq=_PROMPT)
    step = seconds(phase="decode", batch=_GPTJ_BATCH, context=_PROMPT + _ANSWER // 2)
    return float(_GPTJ_BATCH / (prompts + _ANSWER * step))


def gptj_cache_rate() -> float:
    """Samples per second of one chip if only the keys and values moved, at the quoted bandwidth."""
    machine = load_arch("s4")
    cached = 2 * 4096 * _GPTJ_LAYERS * (_PROMPT + _ANSWER // 2) * _ANSWER
    per_second = machine.spec.dram.bytes_per_cycle * float(machine.spec.clock_mhz) * HZ_PER_MHZ
    return float(per_second / cached)
