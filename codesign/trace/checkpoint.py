"""What a checkpoint holds: non-zeros and N:M conformance of each tensor, and traces with masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import Pattern
from codesign.trace.checkpoint_experts import find_experts, router_name
from codesign.trace.checkpoint_files import open_checkpoint
from codesign.trace.checkpoint_tensors import Source
from codesign.trace.network import Network, Value
from codesign.trace.op import GENERATING, Kind, Op, Phase, Trace
from codesign.trace.real_masks import conformance, mask_shape, pattern_of, with_masks
from codesign.trace.spec import Request, WorkloadSpec
from codesign.trace.workload import build_trace

_MATMULS = (Kind.GEMM, Kind.CONV)
_TURNED_MODELS = frozenset({"gpt2"})
"""Models whose linear layers are stored [in, out]."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one tensor after one look at it.

    `groups` holds the largest number of non-zeros in any group of m neighbours of the last
    dimension, for m of `real_masks.GROUPS`.
    """

    name: str
    shape: tuple[int, ...]
    nonzeros: int
    nan: int
    groups: Mapping[int, int]
    pattern: Pattern

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def density(self) -> float:
        return self.nonzeros / self.elements if self.elements else 0.0


def survey(path: Path) -> Iterator[Facts]:
    """Facts of every tensor with two or more dimensions, one tensor in memory at a time."""
    for source in open_checkpoint(path):
        if len(source.shape) >= 2 and 0 not in source.shape:
            mask, nan = source.mask()
            groups = {} if mask.nnz in (0, mask.size) else conformance(mask)
            yield Facts(source.name, source.shape, mask.nnz, nan, groups, pattern_of(mask))


def count_nonzeros(path: Path) -> dict[str, tuple[int, int]]:
    """Non-zeros and elements of every tensor with two or more dimensions."""
    return {
        source.name: source.count()
        for source in open_checkpoint(path)
        if len(source.shape) >= 2 and 0 not in source.shape
    }


def load_checkpoint(
    path: Path,
    *,
    phase: str | None = None,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = None,
    real: bool = False,
) -> tuple[Trace, dict[str, NDArray[Any]]]:
    """The trace of a checkpoint with the masks of its weights, and with `real` the weights.

    With a config.json beside it the trace is that of the model, else one linear layer for each
    matrix, in the order of the file, on `batch` x `seq` rows. Weights with fewer than 99 % of them
    non-zero get their mask, and the N:M pattern that it fills, or `unstructured`. Raises
    CodesignError for damaged files, for checkpoints with code in them (nothing is executed), for
    weights that are NaN and get a mask, and for training: masks say nothing of gradients.
    """
    if phase == "training":
        raise CodesignError(
            "checkpoint: traces are for inference, prefill and decode; for training, sparsify the "
            "weights of a torch: module by a method"
        )
    sources = {source.name: source for source in open_checkpoint(path)}
    config = (path if path.is_dir() else path.parent) / "config.json"
    if config.is_file():
        from codesign.trace.hf import load_hf
        from codesign.trace.hf_config import read_config

        turned = read_config(config).model_type in _TURNED_MODELS
        trace = load_hf(config, phase=phase, batch=batch, seq=seq, context=context, dtype=dtype)
    else:
        turned = False
        trace = _chain(path, sources, phase, batch, seq, context, dtype)
    found = {op.name: _find(sources, op.weight) for op in trace if _weighted(op)}
    masks = ((name, source) for name, source in found.items() if source is not None)
    trace = with_masks(
        trace, ((name, _oriented(trace[name], source, turned)) for name, source in masks)
    )
    if not any(found.values()):
        raise CodesignError(f"{path}: holds no weight of {trace.name}; its layers are named apart")
    meta: dict[str, str | int | float] = {**trace.meta, "source": f"checkpoint:{path}"}
    if missing := sum(source is None for source in found.values()):
        meta["products_without_weights"] = missing
    weights = _weights(trace, found, turned) if real else {}
    return replace(trace, meta=meta), weights


def _weighted(op: Op) -> bool:
    forward = op.phase not in (Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT)
    return op.kind in _MATMULS and op.weight is not None and forward


def _find(sources: Mapping[str, Source], weight: str | None) -> Source | None:
    """The tensor of a parameter, also where one name has the name of the whole model in front."""
    if weight is None:
        return None
    if weight in sources:
        return sources[weight]
    if (experts := find_experts(sources, weight)) is not None:
        return experts
    if (router := router_name(weight)) in sources:
        return sources[router]
    inner = weight.partition(".")[2]
    if inner in sources and inner.count(".") > 1:
        return sources[inner]
    longer = [name for name in sources if name.endswith(f".{weight}")]
    return sources[longer[0]] if len(longer) == 1 else None


def _oriented(op: Op, source: Source, turned: bool) -> Mask:
    """The mask of a stored tensor as n rows of k, channels innermost."""
    mask, nan = source.mask()
    if nan:
        raise CodesignError(f"{source.name}: {nan} weights are NaN")
    expected = mask_shape(op)
    if op.kind is Kind.CONV and len(source.shape) == 4:
        kept = mask.to_dense().reshape(source.shape).transpose(0, 2, 3, 1)
        mask = Mask.from_dense(np.ascontiguousarray(kept).reshape(source.shape[0], -1))
    elif len(source.shape) == 2 and (
        source.shape != expected or (turned and op.weight != "transformer.wte.weight")
    ):
        mask = mask.transpose()
    if mask.shape != expected:
        raise CodesignError(f"{source.name}: shape {source.shape}, {op.name} needs {expected}")
    return mask


def _weights(
    trace: Trace, found: Mapping[str, Source | None], turned: bool
) -> dict[str, NDArray[Any]]:
    out: dict[str, NDArray[Any]] = {}
    for name, source in found.items():
        op = trace[name]
        if source is None or op.weight is None or op.weight in out:
            continue
        data = source.values()
        flip = data.ndim == 2 and (
            data.shape != mask_shape(op) or (turned and op.weight != "transformer.wte.weight")
        )
        out[op.weight] = np.ascontiguousarray(data.T) if flip else data
    return out


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A weight of n rows and k columns."""

    weight: str
    n: int
    k: int


class _Matrices(WorkloadSpec):
    """Linear layers in a chain, each on the same rows."""

    shapes: tuple[Any, ...]
    rows: int

    def build(self, request: Request) -> Network:
        net = request.network()
        before: str | None = None
        for matrix in self.shapes:
            layer = matrix.weight.removesuffix(".weight")
            x = Value(before, (request.batch, self.rows, matrix.k))
            own = matrix.weight.endswith(".weight")
            if not own:
                net.parameters[matrix.weight] = matrix.n * matrix.k
            tied = None if own else matrix.weight
            before = net.linear(x, layer, matrix.n, bias=False, tied=tied).op
        return net


def _chain(
    path: Path,
    sources: Mapping[str, Source],
    phase: str | None,
    batch: int,
    seq: int | None,
    context: int | None,
    dtype: str | None,
) -> Trace:
    matrices = tuple(
        _Matrix(name, source.shape[0], int(np.prod(source.shape[1:], dtype=np.int64)))
        for name, source in sources.items()
        if len(source.shape) in (2, 4) and 0 not in source.shape and source.is_real
    )
    if not matrices:
        raise CodesignError(f"{path}: no tensor in it is a matrix of numbers")
    if phase in GENERATING or context is not None:
        raise CodesignError(f"{path}: without a config.json beside it there are no such phases")
    spec = _Matrices(name=path.stem, shapes=matrices, rows=seq or 1)
    return build_trace(spec, f"checkpoint:{path}", phase, batch, dtype=dtype)
