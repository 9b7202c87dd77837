"""Small workloads of every kind, on which a machine's laws are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from codesign.config import validate_spec
from codesign.sparsity.mask import Mask
from codesign.trace.layers import Layers
from codesign.trace.network import Network, Value, conv_op
from codesign.trace.op import Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.spec import Request
from codesign.trace.training import train
from codesign.trace.window import Conv
from codesign.trace.workload import load_workload

NM_PATTERNS = ("2:4", "4:8", "2:8", "2:16")
"""Of half, half, a quarter and an eighth of the weights."""

_CONVS = {
    "pointwise": {"in_channels": 32, "out_channels": 48, "height": 14, "width": 14, "kernel": 1},
    "window": {"in_channels": 48, "out_channels": 32, "height": 14, "width": 14, "kernel": 3},
    "strided": {
        "in_channels": 32, "out_channels": 64, "height": 14, "width": 14, "kernel": 3, "stride": 2,
    },
    "depthwise": {
        "in_channels": 64, "out_channels": 64, "height": 7, "width": 7, "kernel": 3, "groups": 64,
    },
}  # fmt: skip
_TINY_DECODER = {
    "width": 64,
    "depth": 1,
    "heads": 4,
    "mlp_width": 256,
    "vocabulary": 96,
    "positions": 64,
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A workload, and whether it is small enough to be tried at every fidelity and pattern."""

    trace: Trace
    quick: bool = True


def gemm(m: int, n: int, k: int, *, phase: str = "inference") -> Trace:
    """One product C (m x n) = A (m x k) . B (k x n) with weights B."""
    return load_workload(f"gemm:{m},{n},{k}", phase=phase)


def convolutions(*, batch: int = 1, training: bool = False) -> Trace:
    """A pointwise, a windowed, a strided and a depthwise convolution, one after the other."""
    layers = [{"name": name, "conv": conv} for name, conv in _CONVS.items()]
    spec = validate_spec(Layers, {"name": "convolutions", "layers": layers})
    net = spec.build(Request(batch=batch, training=training))
    trace = Trace(spec.name, tuple(net.ops), net.parameters)
    return train(trace) if training else trace


def windows(*, batch: int = 1, training: bool = False) -> Trace:
    """A dilated, a transposed and a three-dimensional convolution, none the input of another."""
    net = Network(training=training)
    flat, volume = Value(None, (batch, 12, 12, 32)), Value(None, (batch, 4, 8, 8, 32))
    net.conv(flat, "dilated", 48, 3, dilation=3)
    net.conv(flat, "transposed", 16, 4, stride=2, padding=1, transposed=True)
    net.conv(volume, "volume", 48, 3, stride=2)
    trace = Trace("windows", tuple(net.ops), net.parameters)
    return train(trace, input_gradient=True) if training else trace


def image() -> Trace:
    """A picture of three channels through a wide and through a high convolution."""
    net = Network()
    before: tuple[str, ...] = ()
    for name, high, wide, inputs in (("wide", 1, 7, 3), ("high", 7, 1, 32)):
        window = Conv(
            batch=2, in_h=16, in_w=16, in_channels=inputs, out_channels=32, kernel_h=high,
            kernel_w=wide, padding_h=high // 2, padding_w=wide // 2, out_h=16, out_w=16,
        )  # fmt: skip
        weight = f"{name}.weight"
        net.parameters[weight] = 32 * inputs * high * wide
        net.ops.append(
            conv_op(name, window, weight=weight, phase=net.phase, deps=before, dtype=net.dtype)
        )
        before = (name,)
    return Trace("image", tuple(net.ops), net.parameters)


def decoder(phase: str, *, batch: int = 1) -> Trace:
    """One layer of a small language model: attention, norms, softmax, embedding and loss."""
    decodes = phase == "decode"
    return load_workload(
        "gpt2", phase=phase, batch=batch, overrides=_TINY_DECODER, optimizer="adamw",
        seq=None if decodes else 24, context=16 if decodes else None,
    )  # fmt: skip


def everywhere(trace: Trace, pattern: str) -> Trace:
    """The trace with every weighted product sparse, first and last layers too."""
    return sparsify(trace, pattern, skip_first_last=False)


def nested(m: int, n: int, k: int, kept: float) -> Trace:
    """A product with a real mask; masks that keep less lie within those that keep more."""
    trace = sparsify(gemm(m, n, k), f"unstructured({1 - kept:.3f})", where="gemm")
    scores = np.random.default_rng(m + n + k).random((n, k))
    return replace(trace, masks={"gemm": Mask.from_dense(scores < kept)})


@cache
def probes() -> Mapping[str, Probe]:
    """The probe workloads by name, dense."""
    return {
        "gemm": Probe(gemm(200, 160, 144)),
        "wide gemm": Probe(gemm(64, 512, 320), quick=False),
        "one row": Probe(gemm(1, 256, 512)),
        "gemm training": Probe(gemm(128, 96, 192, phase="training")),
        "convolutions": Probe(convolutions(batch=2)),
        "convolution training": Probe(convolutions(training=True), quick=False),
        "image": Probe(image(), quick=False),
        "windows": Probe(windows(training=True), quick=False),
        "decode": Probe(decoder("decode"), quick=False),
        "transformer training": Probe(decoder("training")),
    }


GROWTHS: Mapping[str, Callable[[int], Trace]] = {
    "m": lambda factor: gemm(160 * factor, 128, 192),
    "n": lambda factor: gemm(160, 128 * factor, 192),
    "k": lambda factor: gemm(160, 128, 192 * factor),
    "batch of convolutions": lambda factor: convolutions(batch=factor),
    "batch of a transformer": lambda factor: decoder("training", batch=factor),
}
"""Workloads that grow with a factor, by what grows."""
