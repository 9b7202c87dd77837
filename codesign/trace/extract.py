"""Traces of models that are written elsewhere: finds out what a source is and calls its reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from codesign.config import CodesignError, did_you_mean
from codesign.trace.op import GENERATING, Trace, forward_phase

SOURCES: Mapping[str, str] = {
    "torch": "torch:package.module:factory or torch:path/to/file.py:factory",
    "hf": "hf:path/to/config.json",
    "onnx": "onnx:path/to/model.onnx",
    "checkpoint": "checkpoint:path/to/model.safetensors",
    "scalesim": "scalesim:path/to/topology.csv",
}
"""What a source begins with, and how it is written."""


def extract(source: str, *, phase: str = "inference", **options: Any) -> Trace:
    """The trace of a model that is described outside of codesign.

    `torch:package.module:factory` runs the `nn.Module` that the factory makes. Modules are looked
    up in the current folder first. The factory takes no arguments, or any of `batch`, `seq`,
    `phase` and `context`, and returns a module, or (module, inputs). Inputs are a tensor, a tuple
    of arguments or a mapping of keyword arguments; without them the module's `example_inputs(batch,
    seq)` is called. In training the module's `loss(output)` is minimised where it has one, else the
    sum of its output. The code of the factory is executed. `hf:`, `onnx:`, `checkpoint:` and
    `scalesim:` read files and execute nothing. `options` are those of `extract_with_weights`.
    Raises CodesignError when something is missing, or is not what it should be.
    """
    return extract_with_weights(source, phase=phase, **options)[0]


def extract_with_weights(
    source: str,
    *,
    phase: str = "inference",
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = "fp16",
    real: bool = False,
    via: str = "auto",
    assume: float | None = None,
) -> tuple[Trace, Mapping[str, NDArray[Any]]]:
    """The trace and, with `real`, the weights in the layout that `sparsify(weights=...)` reads.

    By default nothing is computed: shapes only, no memory, no weights. `via` says how `hf:` reads a
    configuration: `shapes` from its numbers alone, `module` by running the module of transformers,
    `auto` by the first where it knows the model. `assume` is what a tensor without a value counts
    as where a module asks for one (`.item()`, or an if on a tensor); the trace's meta then says
    where that happened.
    """
    kind, _, rest = source.partition(":")
    if kind not in SOURCES or not rest:
        hint = did_you_mean(kind, list(SOURCES)) if rest else None
        forms = ", ".join(SOURCES.values())
        raise CodesignError(
            f"{source[:80]!r}: write {forms}" + (f"; did you mean {hint}:?" if hint else "")
        )
    forward_phase(phase)
    if (via, kind) != ("auto", kind) and (via not in ("shapes", "module") or kind != "hf"):
        raise CodesignError(f"via is auto, or for hf: shapes or module, got {via[:40]!r}")
    if real and kind in ("hf", "scalesim"):
        raise CodesignError(f"{kind}: describes shapes, there are no real weights to read")
    if assume is not None and kind not in ("torch", "hf"):
        raise CodesignError(
            f"assume belongs to torch: and hf:, {kind}: asks no tensor for its value"
        )
    sizes: dict[str, Any] = {
        "phase": phase, "batch": batch, "seq": seq, "context": context, "optimizer": optimizer,
    }  # fmt: skip
    match kind:
        case "torch":
            return _module(source, dtype=dtype, real=real, assume=assume, **sizes)
        case "hf":
            return _hf(Path(rest), via, assume, dtype=dtype, **sizes), {}
        case "onnx":
            from codesign.trace.onnx import load_onnx

            return load_onnx(Path(rest), dtype=dtype, real=real, **sizes)
        case "checkpoint":
            from codesign.trace.checkpoint import load_checkpoint

            return load_checkpoint(Path(rest), dtype=dtype, real=real, **sizes)
    from codesign.trace.scalesim import load_topology

    return load_topology(Path(rest), dtype=dtype, **sizes), {}


def _hf(path: Path, via: str, assume: float | None, **options: Any) -> Trace:
    from codesign.trace.hf import load_hf
    from codesign.trace.hf_config import read_config
    from codesign.trace.hf_families import HF_FAMILIES

    if via == "shapes" or (via == "auto" and read_config(path).model_type in HF_FAMILIES):
        return load_hf(path, **options)
    from codesign.trace.hf_torch import extract_hf

    return extract_hf(path, assume=assume, **options)


def _module(
    source: str,
    *,
    phase: str,
    batch: int,
    seq: int | None,
    context: int | None,
    optimizer: str,
    dtype: str | None,
    real: bool,
    assume: float | None,
) -> tuple[Trace, Mapping[str, NDArray[Any]]]:
    from codesign.trace.factory import arguments, load_factory

    factory = load_factory(source)
    taken = arguments(factory)
    if phase in GENERATING and "phase" not in taken:
        raise CodesignError(
            f"a module is extracted for inference or training, got phase {phase!r}; for prefill "
            "and decode let the factory take `phase` and `context` and give inputs of that shape"
        )
    if context is not None and "context" not in taken:
        raise CodesignError("a context is for factories that take an argument `context`")
    from codesign.trace.torch_extract import build_module, extract_module

    wanted = {"batch": batch, "seq": seq, "phase": phase, "context": context}
    module, inputs = build_module(factory, wanted, real=real)
    trace, weights = extract_module(
        module, inputs, name=source.rpartition(":")[2],
        phase="training" if phase == "training" else "inference", optimizer_name=optimizer,
        dtype=dtype, assume=assume,
    )  # fmt: skip
    meta: dict[str, str | int | float] = {
        **trace.meta, "source": source, "batch": batch, "phase": phase,
    }  # fmt: skip
    meta |= {key: value for key, value in (("seq", seq), ("context", context)) if value is not None}
    ops = trace.ops
    if phase in GENERATING:
        ops = tuple(replace(op, phase=forward_phase(phase)) for op in ops)
    return replace(trace, ops=ops, meta=meta), weights
