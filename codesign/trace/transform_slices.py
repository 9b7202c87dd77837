"""Networks with fewer hidden units, heads, layers, or a narrower residual stream: dense, smaller.

The layers are known by the names that all shipped transformers share: `layers.3.mlp.up`,
`layers.3.attention.out`, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from codesign.config import CodesignError
from codesign.sparsity.removal import kept_of, require_fraction
from codesign.trace.op import Kind, Op, Trace
from codesign.trace.transform_weights import grown, is_training, retrained

_LAYER = re.compile(r"(.*\blayers\.)([0-9]+)\.(.*)")
_INTO_MLP = ("mlp.up", "mlp.gate", "mlp.gate_up")
_INTO_ATTENTION = ("attention.q", "attention.k", "attention.v", "attention.qkv")


def slice_mlp(trace: Trace, removed: float, *, stored: bool = True) -> Trace:
    """Every MLP with a fraction of its hidden units removed (FLAP, CFSP, PAT, SSL).

    With `stored` false the weights stay in memory and only a share of them takes part: neurons that
    a router or a ReLU leaves out (BlockFFN, CoreMatching).
    """
    return _forward(trace, lambda forward: _mlp(forward, require_fraction(removed), stored))


def slice_heads(trace: Trace, removed: float) -> Trace:
    """Every attention with a fraction of its heads removed, key-value heads with their groups."""
    return _forward(trace, lambda forward: _heads(forward, require_fraction(removed)))


def slice_filters(trace: Trace, removed: float) -> Trace:
    """A convolutional network with a fraction of every layer's filters removed (SSL, PAGCP, OTO).

    The channels that read them go too; the image's channels and the classes stay.
    """
    return _forward(trace, lambda forward: _filters(forward, require_fraction(removed)))


def drop_layers(trace: Trace, removed: float) -> Trace:
    """A fraction of the layers removed, the last ones first; neighbours are linked over the gap."""
    return _forward(trace, lambda forward: _layers(forward, require_fraction(removed)))


def slice_width(trace: Trace, removed: float) -> Trace:
    """The residual stream narrowed by a fraction, and a product on each residual link (SliceGPT).

    Ashkboos et al., ICLR 2024 (arXiv 2401.15024): rows and columns of all matrices go, and each
    link is rotated from one basis into the next.
    """
    return _forward(trace, lambda forward: _width(forward, require_fraction(removed)))


def scaled(op: Op, kept: int, whole: int) -> Op:
    """A vector operator on `kept` of `whole` elements."""

    def share(count: int) -> int:
        return -(-count * kept // whole)

    return replace(
        op, elements=share(op.elements), reads=share(op.reads), writes=share(op.writes),
        b_reads=share(op.b_reads) if op.b_reads > op.elements // whole else op.b_reads,
    )  # fmt: skip


def layer_number(name: str) -> tuple[int, str] | None:
    """The number of a name's layer and the rest of the name, None outside layers."""
    match = _LAYER.fullmatch(name)
    return (int(match[2]), match[3]) if match else None


def _forward(trace: Trace, change: Callable[[Trace], Trace]) -> Trace:
    return retrained(trace, change) if is_training(trace) else change(trace)


def _part(op: Op) -> str:
    found = layer_number(op.name)
    return found[1] if found else ""


def _cut(trace: Trace, op: Op, parameters: dict[str, int], *, n: int | None, k: int | None) -> Op:
    """A product with other sizes, and its parameters with it."""
    cut = replace(op, n=op.n if n is None else n, k=op.k if k is None else k)
    if op.weight in trace.parameters:
        parameters[str(op.weight)] = cut.groups * cut.n * cut.k
        bias = f"{op.layer}.bias"
        if bias in parameters:
            parameters[bias] = parameters[bias] * cut.n // op.n
    return cut


def _mlp(trace: Trace, removed: float, stored: bool) -> Trace:
    hidden = {_prefix(op): op.k for op in trace if _part(op) == "mlp.down"}
    if not hidden:
        raise CodesignError(f"{trace.name} has no MLP named layers.N.mlp.down")
    parameters = dict(trace.parameters)
    ops = []
    for op in trace:
        part, whole = _part(op), hidden.get(_prefix(op), 0)
        kept = max(1, kept_of(removed, whole))
        if not whole or not part.startswith("mlp."):
            ops.append(op)
        elif part in _INTO_MLP:
            ops.append(_cut(trace, op, parameters, n=op.n * kept // whole, k=None))
        elif part == "mlp.down":
            ops.append(_cut(trace, op, parameters, n=None, k=kept))
        else:
            ops.append(scaled(op, kept, whole) if not op.is_matmul else op)
    return replace(grown(trace, ops), parameters=parameters if stored else trace.parameters)


def _heads(trace: Trace, removed: float) -> Trace:
    batch = int(trace.meta.get("batch", 1))
    scores = {_prefix(op): op.groups for op in trace if _part(op) == "attention.scores"}
    if not scores:
        raise CodesignError(f"{trace.name} has no attention named layers.N.attention.scores")
    parameters = dict(trace.parameters)
    ops = []
    for op in trace:
        part = _part(op)
        whole = scores.get(_prefix(op), 0) // batch
        kept = max(1, kept_of(removed, whole))
        if not whole or not part.startswith("attention."):
            ops.append(op)
        elif part in _INTO_ATTENTION:
            ops.append(_cut(trace, op, parameters, n=op.n * kept // whole, k=None))
        elif part == "attention.out":
            ops.append(_cut(trace, op, parameters, n=None, k=op.k * kept // whole))
        elif op.kind is Kind.ATTENTION:
            ops.append(replace(op, groups=batch * kept))
        else:
            ops.append(scaled(op, kept, whole))
    return replace(grown(trace, ops), parameters=parameters)


def _filters(trace: Trace, removed: float) -> Trace:
    ends = {dep for op in trace for dep in op.deps if op.layer != "loss"}
    parameters = dict(trace.parameters)
    shares: dict[str, tuple[int, int]] = {}
    ops: list[Op] = []
    for op in trace:
        reads = next((shares[dep] for dep in op.deps if dep in shares), (1, 1))
        writes = reads
        cut = op
        if op.is_matmul:
            outs = op.n * (op.conv.groups if op.conv else 1)
            last = op.name not in ends
            writes = (1, 1) if last else (max(1, kept_of(removed, outs)), outs)
            cut = _narrowed(op, reads, writes)
            if op.weight in parameters:
                parameters[op.weight] = cut.groups * cut.n * cut.k
                bias = f"{op.layer}.bias"
                if bias in parameters:
                    parameters[bias] = parameters[bias] * writes[0] // writes[1]
        else:
            cut = scaled(op, *reads)
            for name in (str(op.weight), f"{op.layer}.bias"):
                if name in parameters:
                    parameters[name] = parameters[name] * reads[0] // reads[1]
        shares[op.name] = writes
        ops.append(cut)
    if not any(op.conv for op in trace):
        raise CodesignError(f"{trace.name} has no convolutions")
    return replace(grown(trace, ops), parameters=parameters)


def _narrowed(op: Op, reads: tuple[int, int], writes: tuple[int, int]) -> Op:
    """A product with fewer channels on both sides; depthwise ones lose groups."""
    conv = op.conv
    if conv is None:
        return replace(op, n=op.n * writes[0] // writes[1], k=op.k * reads[0] // reads[1])
    ins = conv.in_channels * reads[0] // reads[1]
    outs = conv.out_channels * writes[0] // writes[1]
    groups = conv.groups
    if groups > 1:
        if groups != conv.in_channels or conv.in_channels != conv.out_channels:
            raise CodesignError(f"{op.name}: filters of grouped convolutions are not cut")
        groups = outs = ins
    per_group = ins // groups
    return replace(
        op, n=outs // groups, k=conv.taps * per_group, groups=groups,
        conv=replace(conv, in_channels=ins, out_channels=outs, groups=groups),
    )  # fmt: skip


def _layers(trace: Trace, removed: float) -> Trace:
    numbers = sorted({found[0] for op in trace if (found := layer_number(op.name))})
    gone = set(numbers[max(1, kept_of(removed, len(numbers))) :])
    if not numbers:
        raise CodesignError(f"{trace.name} has no layers named layers.N")
    instead: dict[str, tuple[str, ...]] = {}
    ops = []
    for op in trace:
        deps = tuple(dict.fromkeys(d for dep in op.deps for d in instead.get(dep, (dep,))))
        found = layer_number(op.name)
        if found and found[0] in gone:
            instead[op.name] = deps
        else:
            ops.append(replace(op, deps=deps))
    parameters = {
        name: count
        for name, count in trace.parameters.items()
        if not ((found := layer_number(name)) and found[0] in gone)
    }
    return replace(grown(trace, ops), parameters=parameters)


def _width(trace: Trace, removed: float) -> Trace:
    width = next((op.n for op in trace if _part(op) == "attention.out"), 0)
    if not width:
        raise CodesignError(f"{trace.name} has no attention named layers.N.attention.out")
    kept = max(1, kept_of(removed, width))
    parameters = dict(trace.parameters)
    ops: list[Op] = []
    for op in trace:
        part = _part(op)
        if part in ("attention.out", "mlp.down"):
            ops.append(_cut(trace, op, parameters, n=kept, k=None))
        elif op.is_matmul and op.weight and op.k == width and part not in ("attention.out",):
            ops.append(_cut(trace, op, parameters, n=None, k=kept))
        elif part in ("add1", "add2"):
            ops.extend(_rotated(op, width, kept, parameters))
        elif op.is_matmul or part.startswith(("attention.", "mlp.")) or op.layer == "loss":
            ops.append(op)
        else:
            ops.append(scaled(op, kept, width))
            for name in (str(op.weight), f"{op.layer}.bias"):
                if name in parameters and not op.is_matmul:
                    parameters[name] = trace.parameters[name] * kept // width
    return replace(grown(trace, ops), parameters=parameters)


def _rotated(op: Op, width: int, kept: int, parameters: dict[str, int]) -> tuple[Op, Op]:
    """The product on a residual link, and the addition that follows."""
    name = f"{op.name}.rotate"
    rows = op.elements // width
    link = Op(
        name=name, kind=Kind.GEMM, phase=op.phase, layer=name, weight=f"{name}.weight", m=rows,
        n=kept, k=kept, a_dtype=op.a_dtype, b_dtype=op.a_dtype, c_dtype=op.c_dtype,
        repeats=op.repeats, deps=op.deps[:1],
    )  # fmt: skip
    parameters[f"{name}.weight"] = kept * kept
    return link, replace(scaled(op, kept, width), deps=(name, *op.deps[1:]))


def _prefix(op: Op) -> str:
    match = _LAYER.fullmatch(op.name)
    return f"{match[1]}{match[2]}" if match else ""
