"""S4, S10, S30 and S40 against vendor, ByteMLPerf and MLPerf throughputs and latencies."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from codesign.arch import load_arch
from codesign.arch.base import AnyMachine
from codesign.evaluate import simulated_s
from codesign.measure import s4_mlperf
from codesign.measure.s4_mlperf import BERT, BERT_384, JOBS, RATIOS, RESNET, rate, sparse
from codesign.measure.s4_networks import network
from codesign.measure.suite import TableRow, ValidationReport, compare, left_out, report
from codesign.trace.requests import in_flight
from codesign.trace.workload import load_workload

_CALIBRATION_BOUND, _HELD_OUT_BOUND = 0.15, 0.20
_FITTED, _READING = "fitted (", "reading ("
"""How the sources of the machine file mark a number and a choice taken from these rows."""

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


_LITERALLY = {"mode": "single", "fills_square_kernels": False}
_NOT_SQUARE = ("InceptionV3", "InceptionV4")
"""The networks with kernels that are not square, on which the reading rests."""

_WALL = (
    "keys and values alone, read once a token at the quoted 72 GB/s, allow "
    f"{s4_mlperf.gptj_cache_rate():.1f} of the published 7.8 samples/s of a chip"
)

_OVER_T4 = "S4 over T4 (a question of BERT-large is two rows of 128 tokens)"
T4_RATE = {"resnet50": 5862.22, "bert_large": 375.886}
"""MLPerf closed, INT8: ResNet-50 v2.0 Dell XE2420, BERT-large-99 v1.1 Lenovo."""


def run(path: Path | None) -> ValidationReport:
    """Simulate every row; constants are fitted on the first two groups only."""
    machine = load_arch("s4", {"mode": "single"})
    dense, calls = dense_rates(machine), call_rates()
    literal = {**dense, **dense_rates(load_arch("s4", _LITERALLY), _NOT_SQUARE)}
    called = [(calls[name], qps) for name, qps in CALL_ROWS.items()]
    framed = [(dense[name], fps) for name, fps in DENSE_ROWS.items()]
    as_stated = [(literal[name], fps) for name, fps in DENSE_ROWS.items()]
    held = s4_mlperf.held_out()
    table: list[TableRow] = [
        {**_row("dense BF16 on one S4, frames/s (calibration)", name, dense[name], fps),
         "kernels as they are": literal[name]}
        for name, fps in DENSE_ROWS.items()
    ]  # fmt: skip
    table += [
        _row("ByteMLPerf at 16x on S30, queries/s (calibration)", name, calls[name], qps)
        for name, qps in CALL_ROWS.items()
    ]
    table += [
        _row("MLPerf at the sparsity inferred from S4 (held out)", name, ours, theirs)
        for name, ours, theirs in (*held, *answers())
    ]
    table += intervals() + over_t4() + curves()
    fits, readings = (_marked(machine, mark) for mark in (_FITTED, _READING))
    return report(
        "published_s4",
        [
            compare("calibration rows", framed + called, within=_CALIBRATION_BOUND,
                    note=f"{_listed(fits, 'fitted constant')}; {_listed(readings, 'reading')}"),
            compare("held-out rows", [(a, b) for _, a, b in (*held, *answers())],
                    within=_HELD_OUT_BOUND, note="answers of GPT-J among them, at 32x: " + _WALL),
        ],
        [
            compare("calibration rows without the reading", as_stated + called,
                    note="1x7 and 7x1 kernels as they are: the two Inceptions 2 to 3 times fast"),
            compare("dense BF16 table", framed),
            compare("ByteMLPerf at 16x", called),
            compare("held out: ResNet-50 and BERT-large", [(a, b) for _, a, b in held]),
            compare("held out: GPT-J (MLPerf v3.1)", [(a, b) for _, a, b in answers()], note=_WALL),
            left_out("Conformer (ByteMLPerf)", 1, "its sources give 8x and 16x"),
            left_out("BLOOM and GPT-J demos", 3, "sparsity and split are not published"),
        ],
        table=table,
    )  # fmt: skip


def _marked(machine: AnyMachine, mark: str) -> list[str]:
    """Paths of the machine file whose source says that these rows gave it."""
    return [key for key, said in machine.spec.sources.items() if said.source.startswith(mark)]


def _listed(paths: list[str], what: str) -> str:
    return f"{len(paths)} {what}{'s' if len(paths) != 1 else ''}: {', '.join(paths)}"


def dense_rates(machine: AnyMachine, names: Collection[str] = DENSE_ROWS) -> dict[str, float]:
    """Frames per second of dense networks on one S4, each core on items of its own."""
    out = {}
    for name in names:
        if name == "BERT-base":
            batch, trace = 32, load_workload("bert_base", batch=32, seq=128, dtype="bf16")
        else:
            batch, trace = 4, network(name, 4, "bf16")
        out[name] = batch / simulated_s(trace, machine)
    return out


def call_rates() -> dict[str, float]:
    """Queries per second of one S30 that answers a batch before it takes the next.

    The three transformers have the same layers but for embeddings; a batch runs in four passes, two
    at a time.
    """
    machine = load_arch("s30")
    images = sparse(load_workload("resnet50", batch=48, dtype="int8"), 16)
    questions = sparse(load_workload("bert_base", batch=16, seq=384, dtype="int8"), 16)
    transformer = 64 / simulated_s(in_flight(questions, 4, streams=2), machine)
    seconds = simulated_s(images, machine)
    return {"ResNet-50": 48 / seconds} | dict.fromkeys(list(CALL_ROWS)[1:], transformer)


def answers() -> list[tuple[str, float, float]]:
    """GPT-J on S30 cards of three chips at the deepest sparsity, which is still too slow."""
    chip = s4_mlperf.gptj_rate(RATIOS[-1])
    chips = load_arch("s30").spec.chips
    return [
        (f"gptj {cards} x s30 v3.1, 1/s", cards * chips * chip, theirs)
        for cards, theirs in s4_mlperf.GPTJ_RATE.items()
    ]


def intervals() -> list[TableRow]:
    """The undisclosed sparsity of the submissions, by what a sample is taken to be."""
    section = "sparsity inferred from the S4 submissions"
    resnet, bert = (s4_mlperf.published(model) for model in JOBS)
    found = [("resnet50", "an image", str(s4_mlperf.inferred(RESNET, resnet)))]
    found += [
        ("bert_large", f"{name}: {rows:.2f} rows of {BERT.seq}",
         str(s4_mlperf.inferred(BERT, bert * rows)))
        for name, rows in s4_mlperf.ROWS_PER_SAMPLE.items()
    ]  # fmt: skip
    found += [
        ("bert_large", "one sequence of 384", str(s4_mlperf.inferred(BERT_384, bert))),
        ("gptj", "prompt and answer on a chip", f"none: {_WALL}"),
    ]
    return [
        {"section": section, "model": model, "a sample": sample, "inferred": text}
        for model, sample, text in found
    ]


def over_t4() -> list[TableRow]:
    """Throughput of one S4 over that of a T4, as published and at each ratio."""
    rows: list[TableRow] = []
    for model, t4 in T4_RATE.items():
        per_sample = s4_mlperf.place(model)[1] * t4
        ours = {f"{r}x": rate("s4", JOBS[model], r) / per_sample for r in RATIOS}
        published = s4_mlperf.published(model) / t4
        rows.append({"section": _OVER_T4, "model": model, "published": published, **ours})
    return rows


def curves() -> list[TableRow]:
    """Speed-up over dense on one S4 for every ratio of the hardware."""
    return [
        {
            "section": "speed-up over sparsity on S4 (arXiv 2207.08006, figure 2: shape only)",
            "ratio": ratio,
            **{
                name: rate("s4", job, ratio) / rate("s4", job, 1)
                for name, job in (
                    ("resnet50", RESNET),
                    ("bert_large 384", BERT_384),
                    ("bert_large 128", BERT),
                )
            },
        }
        for ratio in RATIOS
    ]


def _row(section: str, name: str, ours: float, theirs: float) -> TableRow:
    return {
        "section": section, "row": name, "ours": ours, "published": theirs,
        "error": ours / theirs - 1,
    }  # fmt: skip
