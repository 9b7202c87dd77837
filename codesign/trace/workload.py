"""Workloads by name, by file or as `gemm:M,N,K`: from shapes to a Trace, without torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Never

from codesign.config import (
    CodesignError,
    ConfigError,
    Document,
    did_you_mean,
    load_spec,
    load_yaml,
    shipped,
    suggestion,
)
from codesign.trace.cnn import PlainCNN, ResNet
from codesign.trace.io import load_trace
from codesign.trace.layers import Layers, parse_gemm
from codesign.trace.op import Trace, forward_phase
from codesign.trace.spec import Request, WorkloadSpec
from codesign.trace.training import train
from codesign.trace.transformer import Decoder, Encoder, ViT
from codesign.units import DTYPE_BYTES
from codesign.yaml12 import Fault

FAMILIES: Mapping[str, type[WorkloadSpec]] = {
    "resnet": ResNet,
    "cnn": PlainCNN,
    "vit": ViT,
    "encoder": Encoder,
    "decoder": Decoder,
    "layers": Layers,
}
"""The value of `family` in a workload file, and what the file then states."""

_READERS: Mapping[str, str] = {
    ".onnx": "onnx",
    ".csv": "scalesim",
    ".py": "torch",
    **dict.fromkeys((".safetensors", ".pt", ".pth", ".bin", ".ckpt"), "checkpoint"),
}
"""What a source of `codesign extract` begins with, by the end of the file's name."""

_OTHER_FILES: Mapping[str, str] = {
    "machine": "a machine's file, which --arch takes",
    "parameters": "a sweep's file, which `codesign sweep` takes",
}

_MAX_BATCH = 1 << 20
_MAX_TOKENS = 1 << 24
_MAX_MACS = 1 << 62


def load_workload(
    name_or_path: str | Path,
    *,
    phase: str | None = None,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = None,
    image: int | None = None,
    overrides: Mapping[str, object] = {},
    **unknown: Never,
) -> Trace:
    """The trace of a shipped workload, a workload file, a saved trace, or `gemm:M,N,K[,dtype]`.

    `phase` is inference (default), training, prefill or decode; `seq` counts new tokens and
    `context` cached ones; `image` is the edge of a square image. `overrides` replaces
    hyper-parameters by dotted path. A saved trace is what it is: it takes none of these. Raises
    CodesignError for an unknown name or keyword, with a suggestion, and for sizes and phases that
    the model does not have.

    >>> load_workload("gemm:4,8,16", phase="training").macs
    1536
    """
    for keyword in unknown:
        known = list(inspect.signature(load_workload).parameters)[1:-1]
        raise CodesignError(
            f"load_workload takes no {keyword[:40]!r}"
            + (suggestion(keyword, known) or f"; it takes {', '.join(known)}")
        )
    text = str(name_or_path)
    if text.strip().startswith("gemm:"):
        if image is not None or overrides:
            raise CodesignError(f"{text[:80]} has no image size and no hyper-parameters to set")
        gemm, gemm_dtype = parse_gemm(text)
        return build_trace(
            gemm, gemm.name, phase, batch, seq, context, optimizer, gemm_dtype or dtype, overrides
        )
    path = find_workload(text)
    if path.suffix == ".json":
        given = (phase, seq, context, dtype, image)
        if batch != 1 or overrides or any(value is not None for value in given):
            raise CodesignError(
                f"{text} is a saved trace: its phase, sizes and data type are fixed"
            )
        return _countable(load_trace(path))
    chosen = dict(overrides) if image is None else {**overrides, "image": image}
    document = load_yaml(path)
    if image is not None and "image" not in _family(document).model_fields:
        raise CodesignError(f"{text} takes no image size")
    spec = load_spec(_family(document), document, chosen)
    return build_trace(spec, path.name, phase, batch, seq, context, optimizer, dtype, chosen)


def workload_spec(name_or_path: str | Path, overrides: Mapping[str, object] = {}) -> WorkloadSpec:
    """The content of a workload file, with `overrides` put in."""
    document = load_yaml(find_workload(str(name_or_path)))
    return load_spec(_family(document), document, overrides)


def find_workload(name_or_path: str) -> Path:
    """The file of a shipped workload, or the given path; CodesignError if it is neither."""
    names = workload_names()
    if name_or_path in names:
        return shipped("workloads") / f"{name_or_path}.yaml"
    kind, _, rest = name_or_path.partition(":")
    sources = ["gemm", "hf", *dict.fromkeys(_READERS.values())]
    if rest and kind.isalpha() and (near := did_you_mean(kind, sources)):
        raise CodesignError(
            f"no source begins with {kind[:40] + ':'!r}; did you mean {near}:{rest[:80]}?"
        )
    path = Path(name_or_path)
    if reader := _READERS.get(path.suffix.lower()):
        factory = ":FACTORY" if reader == "torch" else ""
        raise CodesignError(
            f"{name_or_path[:80]!r} is no workload file; did you mean "
            f"{reader}:{name_or_path[:80]}{factory}?"
        )
    if path.suffix in (".yaml", ".yml", ".json") or "/" in name_or_path:
        return path
    meant = suggestion(name_or_path, names) or "; `codesign workload list` shows them"
    raise CodesignError(f"no workload {name_or_path[:80]!r}{meant}")


def workload_names() -> list[str]:
    """The names of all shipped workloads, sorted."""
    return sorted(path.stem for path in shipped("workloads").glob("*.yaml"))


def list_workloads() -> list[tuple[str, dict[str, str | int | None]]]:
    """Name and summary of every shipped workload: family, description, published numbers."""
    rows: list[tuple[str, dict[str, str | int | None]]] = []
    for name in workload_names():
        spec = workload_spec(name)
        facts = spec.published
        rows.append(
            (
                name,
                {
                    "family": str(getattr(spec, "family", "")),
                    "description": spec.description,
                    "parameters": None if facts is None else facts.parameters,
                    "macs": None if facts is None else facts.macs,
                    "source": None if facts is None else facts.source,
                },
            )
        )
    return rows


def _family(document: Document) -> type[WorkloadSpec]:
    given = document.data.get("family", "layers" if "layers" in document.data else None)
    if isinstance(given, str) and given in FAMILIES:
        return FAMILIES[given]
    line = document.lines.get(("family",))
    if given is not None:
        rule = f"family is one of {', '.join(FAMILIES)}"
    elif other := next((what for key, what in _OTHER_FILES.items() if key in document.data), None):
        rule = f"the key family is missing; this looks like {other}"
    else:
        rule = "the key family is missing"
    hint = did_you_mean(given, list(FAMILIES)) if isinstance(given, str) else None
    value = None if given is None else repr(given)[:80]
    raise ConfigError([Fault(document.name, line, "family", rule, value, hint)])


def build_trace(
    spec: WorkloadSpec,
    source: str,
    phase: str | None = None,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = None,
    overrides: Mapping[str, object] = {},
    *,
    draft: int = 0,
    change: Callable[[Trace], Trace] | None = None,
    trainable: Callable[[str], bool] | None = None,
) -> Trace:
    """The trace of a workload that is already read; `source` is what its meta names.

    `change` is applied to the forward operators, before gradients are derived from them;
    `trainable` says of a parameter whether it gets a gradient. Other arguments and errors are those
    of `load_workload`, and a decode step verifies `draft` tokens.
    """
    wanted, working = phase or "inference", dtype or "fp16"
    if working not in DTYPE_BYTES:
        raise CodesignError(
            f"dtype is one of {', '.join(DTYPE_BYTES)}, got {str(working)[:40]!r}"
            + suggestion(str(working), list(DTYPE_BYTES))
        )
    request = Request(
        batch=_count("batch", batch, 1, _MAX_BATCH),
        seq=None if seq is None else _count("seq", seq, 1, _MAX_TOKENS),
        context=None if context is None else _count("context", context, 0, _MAX_TOKENS),
        phase=forward_phase(wanted),
        training=wanted == "training",
        dtype=working,
        draft=_count("draft", draft, 0, _MAX_TOKENS),
    )
    net = spec.build(request)
    tokens, cached = spec.resolve(request)
    meta: dict[str, str | int | float] = {
        "source": source,
        "phase": wanted,
        "batch": batch,
        "dtype": working,
    }
    if spec.takes_sequence:
        meta["seq"] = tokens
    if spec.generates:
        meta["context"] = cached
    meta |= {f"set.{path}": str(value) for path, value in overrides.items()}
    trace = Trace(spec.name, tuple(net.ops), net.parameters, meta=meta)
    if change is not None:
        trace = change(trace)
    if request.training:
        trace = train(
            trace, optimizer_name=optimizer, input_gradient=spec.input_gradient,
            trainable=trainable,
        )  # fmt: skip
    return _countable(trace)


def _countable(trace: Trace) -> Trace:
    if trace.macs >= _MAX_MACS:
        raise CodesignError(
            f"{trace.name}: {trace.macs:.3g} MACs are more than can be counted in 64 bits"
        )
    return trace


def _count(what: str, given: int, low: int, high: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        raise CodesignError(f"{what} is a whole number from {low} to {high}, got {given!r:.40}")
    return given
