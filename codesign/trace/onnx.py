"""Traces of ONNX files, by shape inference; weights stay on disk unless they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.trace.onnx_graph import GraphReader
from codesign.trace.onnx_shapes import complete_shapes
from codesign.trace.op import Trace, forward_phase
from codesign.trace.training import train
from codesign.trace.window import by_output
from codesign.units import DTYPE_BYTES

_MAX_BYTES = 1 << 31


def load_onnx(
    path: Path,
    *,
    phase: str | None = None,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = "fp16",
    real: bool = False,
) -> tuple[Trace, dict[str, NDArray[Any]]]:
    """The trace of an ONNX graph and, with `real`, its weights by initializer name.

    Free dimensions of inputs are bound by their names: those with `past` or `context` to `context`,
    with `seq` or `length` to `seq`, and `batch`, or the first one of an input, to `batch`; a total
    of past and new ones is their sum. Weights are linear [out, in] or convolution [out, in /
    groups, h, w]. Views cost nothing; what depends on constants alone is folded away. `training`
    derives gradients from the forward graph. Raises CodesignError for files that are damaged,
    shapes that cannot be inferred, control flow, and operators that hide products.
    """
    wanted = phase or "inference"
    if dtype is not None and dtype not in DTYPE_BYTES:
        raise CodesignError(f"no data type {dtype[:40]!r} (known: {', '.join(DTYPE_BYTES)})")
    model = _read(path, real)
    _bind(model, path, wanted, batch, seq, context)
    types = complete_shapes(model)
    reader = GraphReader(model, types, str(path), dtype=dtype, phase=forward_phase(wanted))
    reader.run()
    meta: dict[str, str | int | float] = {
        "source": f"onnx:{path}", "phase": wanted, "batch": batch,
        "dtype": dtype or "as in the graph",
    }  # fmt: skip
    meta |= {key: value for key, value in (("seq", seq), ("context", context)) if value is not None}
    trace = Trace(path.stem, tuple(reader.ops), reader.parameters, meta=meta)
    if wanted == "training":
        trace = train(trace, optimizer_name=optimizer)
        trace = replace(trace, meta={**trace.meta, **meta, "optimizer": optimizer})
    return trace, _weights(reader, model, path) if real else {}


def _read(path: Path, real: bool) -> Any:
    try:
        import onnx
    except ImportError:
        raise CodesignError(
            "reading an ONNX file needs onnx: pip install 'codesign[onnx]'"
        ) from None
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CodesignError(f"{path}: more than {_MAX_BYTES} bytes; keep weights in a file")
        model = onnx.load(str(path), load_external_data=False)
        if real:
            _check_external(model, path)
            onnx.load_external_data_for_model(model, str(path.absolute().parent))
    except OSError as error:
        raise CodesignError(f"{path}: {error.strerror or error}") from None
    except CodesignError:
        raise
    except Exception as error:
        raise CodesignError(
            f"{path}: this is no ONNX file, or it is cut short: {str(error)[:200]}"
        ) from None
    if not model.graph.node:
        raise CodesignError(f"{path}: the graph has no operators, or the file is cut short")
    return model


def _check_external(model: Any, path: Path) -> None:
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and Path(entry.value).name != entry.value:
                raise CodesignError(
                    f"{path}: {tensor.name!r} lies in {entry.value[:80]!r}, which is no file "
                    "beside the graph"
                )


def _bind(
    model: Any, path: Path, phase: str, batch: int, seq: int | None, context: int | None
) -> None:
    """Put numbers in place of the free dimensions of inputs."""
    known = {tensor.name for tensor in model.graph.initializer}
    tokens = 1 if phase == "decode" and seq is None else seq
    for value in model.graph.input:
        if value.name in known:
            continue
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                continue
            name = dim.dim_param
            dim.dim_value = _size(path, value.name, axis, name, batch, tokens, context)


def _size(
    path: Path, tensor: str, axis: int, name: str, batch: int, seq: int | None, context: int | None
) -> int:
    lower = name.lower()
    cached = any(word in lower for word in ("past", "context", "cache"))
    new = any(word in lower for word in ("seq", "length", "token"))
    if "batch" in lower or (axis == 0 and not cached and not new):
        return batch
    where = f"{path}: dimension {axis} ({name or 'unnamed'}) of input {tensor!r} is free"
    if cached:
        if context is None:
            raise CodesignError(f"{where}: give a context")
        return context + (seq or 0) if "+" in lower or "total" in lower else context
    if new:
        if seq is None:
            raise CodesignError(f"{where}: give seq")
        return seq
    raise CodesignError(f"{where}, and its name says neither batch, sequence nor context")


def _weights(reader: GraphReader, model: Any, path: Path) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    stored: Mapping[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
    out: dict[str, NDArray[Any]] = {}
    for name, turned in reader.weight_is_turned.items():
        data = numpy_helper.to_array(stored[name])
        if data.dtype.kind not in "fiu":
            raise CodesignError(f"{path}: {name!r} holds {data.dtype}, no numbers with a size")
        data = data.astype(np.float32)
        if turned:
            data = np.ascontiguousarray(data.swapaxes(-1, -2))
        if (window := reader.windows.get(name)) is not None:
            data = by_output(data, window.groups) if window.transposed else data
            data = data[:, :, None] if data.ndim == 3 else data
        out[name] = data
    return out
