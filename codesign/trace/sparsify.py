"""A dense trace becomes a sparse one: which layers, which pattern, which products of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from codesign.config import CodesignError, suggestion
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import (
    DENSE,
    NM,
    DoublePruned,
    Pattern,
    Split,
    Tiles,
    Unstructured,
    parse_pattern,
)
from codesign.trace.op import FORWARD_PHASES, Kind, Op, Phase, Trace
from codesign.trace.projection import Weights, project

STORED = "stored"
"""The sparsity of a trace whose masks are those of its source's weights."""

_MIN_CONV_CHANNELS = 4
"""A convolution of fewer input channels reads an image: the first layer."""


@dataclass(frozen=True, slots=True)
class Method:
    """Which operand of each product of a training step is sparse.

    N:M weights are chosen again along the reduction of backward-data; other patterns are a property
    of the weight, so that its backward mask is the forward one transposed.

    `forward` and `backward_data` prune the weights, each along its own reduction; `output_gradient`
    prunes the gradient that backward-data reads; `backward_weight` prunes the gradient that the
    weight gradient reads, along the rows of the batch. `nested` takes the backward mask out of the
    forward one, so that N:M becomes double-pruned N:M in backward-data.
    """

    forward: bool = False
    backward_data: bool = False
    output_gradient: bool = False
    backward_weight: bool = False
    nested: bool = False
    one_mask: bool = False
    """Both directions read one mask of the weight: transposed, its N:M groups lie across the
    reduction of backward-data, which is then dense to an N:M engine."""
    inputs: bool = False
    """The activations that the forward product reads are sparse, by the token."""
    transposable: bool = False
    """One mask serves both directions; it is not found by projecting each direction alone."""


METHODS: Mapping[str, Method] = {
    "dense": Method(),
    # Zhou et al., ICLR 2021 (arXiv 2102.04010)
    "sr_ste": Method(forward=True),
    # McDanel et al. 2022: magnitude pruning of output gradients
    "sdgp": Method(output_gradient=True),
    # the baselines of arXiv 2309.13015: weights in one direction, or in both
    "sdwp": Method(backward_data=True),
    "bdwp": Method(forward=True, backward_data=True),
    # Zhang et al., ICML 2023 (arXiv 2302.06058), without its search for a permutation
    "bimask": Method(forward=True, backward_data=True, nested=True),
    # Mozaffari et al., ICLR 2025 (arXiv 2405.16325): pruned once more along the outputs
    "slope": Method(forward=True, backward_data=True, nested=True),
    # Hubara et al., NeurIPS 2021 (arXiv 2102.08124)
    "tmask": Method(forward=True, backward_data=True, transposable=True),
    # Hu et al., ICML 2024: transposable masks, and unbiased 2:4 gradients for the weight gradient
    "fst": Method(forward=True, backward_data=True, backward_weight=True, transposable=True),
    # Hu et al., NeurIPS 2024 (arXiv 2409.09099): as FST without masks that serve both directions
    "s_ste": Method(forward=True, backward_weight=True),
    # one N:M mask along the inputs
    **dict.fromkeys(("ste", "step", "pgf", "nm_magnitude"), Method(forward=True)),
    **dict.fromkeys(
        ("random", "magnitude_uniform", "magnitude_global", "magnitude_erk", "magnitude_lamp",
         "gradual", "rigl", "srigl", "granet", "autosparse", "st3", "pdp", "blast", "wanda",
         "sparsegpt", "obs", "chita", "patch", "spense", "pixelated_butterfly", "slicegpt"),
        Method(forward=True, backward_data=True, one_mask=True),
    ),
    # factors, all of them dense
    "monarch": Method(),
    **dict.fromkeys(("teal", "wina", "r_sparse", "mustafar", "kwta"), Method(inputs=True)),
}  # fmt: skip


def sparsify(
    trace: Trace,
    pattern: Pattern | str | Mapping[str, Pattern | str],
    *,
    where: str | Sequence[str] = "*",
    method: str | None = None,
    skip_first_last: bool | None = None,
    weights: Weights | None = None,
) -> Trace:
    """The trace with `pattern` on the weighted products of the layers that `where` matches.

    `where` is a glob, or several, on names of layers and operators; `pattern` may map globs to
    patterns, the first match counts. Left out, unless named by an exact name, are layers whose
    channels are fewer than one N:M group, and with `skip_first_last` (default: only when `where` is
    "*") a first layer without producers and a last layer without consumers other than the loss, if
    others remain. `method` says which products of a training step are sparse (default bdwp); in
    inference it only matters whether the method prunes the forward pass. With `weights` masks are
    projected from them, else machines sample masks from the pattern. Raises CodesignError for globs
    that match no weighted product, for unknown methods, and for weights that are missing or of the
    wrong shape.
    """
    training = any(op.phase is Phase.BACKWARD_WEIGHT for op in trace)
    chosen = method or ("bdwp" if training else "sr_ste")
    if chosen not in METHODS:
        raise CodesignError(
            f"no sparse training method {chosen[:40]!r} (known: {', '.join(METHODS)})"
            + suggestion(chosen, list(METHODS))
        )
    rules = _rules(pattern, where)
    rule = METHODS[chosen]
    if weights is not None and rule.transposable:
        raise CodesignError(
            f"{chosen} needs transposable masks, which projecting each direction does not give"
        )
    layers = [op for op in trace if op.phase in FORWARD_PHASES and _weighted(op)]
    skip = skip_first_last if skip_first_last is not None else set(rules) == {"*"}
    patterns = _assign(trace, layers, rules, _first_and_last(trace, layers) if skip else set())
    ops: list[Op] = []
    masks = dict(trace.masks)
    forward_copies: dict[str, Pattern] = {}
    backward_copies: dict[str, Pattern] = {}
    for op in trace:
        if op.kind is Kind.UPDATE and op.weight is not None:
            forward = forward_copies.get(op.weight, op.b_pattern)
            backward = backward_copies.get(op.weight, op.a_pattern)
            ops.append(replace(op, b_pattern=forward, a_pattern=backward))
            continue
        layer_pattern = patterns.get(_product_key(op))
        if layer_pattern is None or not _weighted(op):
            ops.append(op)
            continue
        sparse = _prune(op, layer_pattern, rule)
        if sparse.b_pattern is not op.b_pattern:
            sparse = replace(sparse, b_changes=training)
            masks.pop(op.name, None)
            if op.phase is not Phase.BACKWARD_WEIGHT:
                backwards = op.phase is Phase.BACKWARD_DATA
                copies = backward_copies if backwards else forward_copies
                copies[str(op.weight)] = sparse.b_pattern
                if weights is not None:
                    masks[op.name] = project(sparse, layer_pattern, weights, nested=rule.nested)
        ops.append(sparse)
    meta: dict[str, str | int | float] = {
        **trace.meta,
        "sparsity": _text(pattern),
        "where": where if isinstance(where, str) else ",".join(where),
        "method": chosen,
        "sparse_layers": len(patterns),
        "weighted_layers": len(layers),
    }
    return replace(trace, ops=tuple(ops), masks=masks, meta=meta)


def as_stored(trace: Trace) -> Trace:
    """The trace with the masks of its source. Raises CodesignError for one that has none."""
    if not has_sparsity(trace.meta):
        raise CodesignError(f"{STORED}: {trace.name} is stored dense")
    return trace


def has_sparsity(meta: Mapping[str, object]) -> bool:
    """Whether a trace of these facts is sparse."""
    return meta.get("sparsity", "dense") != "dense"


def without_sparsity(trace: Trace) -> Trace:
    """The trace with every operand dense and no masks; itself where it is so already."""
    dense = tuple(
        op
        if op.a_pattern.is_dense and op.b_pattern.is_dense
        else replace(op, a_pattern=DENSE, b_pattern=DENSE, b_changes=False)
        for op in trace
    )
    if not trace.masks and all(new is old for new, old in zip(dense, trace, strict=True)):
        return trace
    said = ("sparsity", "where", "method", "sparse_layers", "weighted_layers", "masks")
    meta = {key: value for key, value in trace.meta.items() if key not in said}
    return replace(trace, ops=dense, masks={}, meta=meta)


def matched_layers(trace: Trace, where: str | Sequence[str] = "*") -> tuple[str, ...]:
    """Names of the forward products with weights that `where` matches.

    As in `sparsify`, "*" leaves out the first and the last layer. Raises CodesignError for globs
    that match nothing.
    """
    rules = _rules(Unstructured(0.5), where)
    layers = [op for op in trace if op.phase in FORWARD_PHASES and _weighted(op)]
    skipped = _first_and_last(trace, layers) if set(rules) == {"*"} else set()
    return tuple(_assign(trace, layers, rules, skipped))


def effective_macs(op: Op, mask: Mask | None = None) -> int:
    """Multiply-accumulates of an operator on kept elements of A or B, exact wherever counts are.

    Counts come from `mask` (of B), else from the pattern where every mask of it keeps the same
    number of elements (N:M with its ragged last group, unstructured, rows, columns), else from its
    density. With both operands sparse the two fractions are multiplied and rounded once.
    """
    if not op.is_matmul:
        return 0
    groups = op.groups * op.repeats
    kept_b = mask.nnz * op.repeats if mask is not None else groups * _kept(op.b_pattern, op.n, op.k)
    if mask is not None and op.b_shared:
        kept_b *= op.groups
    if op.a_pattern.is_dense:
        return kept_b * op.m
    kept_a = groups * _kept(op.a_pattern, op.m, op.k)
    if op.b_pattern.is_dense and mask is None:
        return kept_a * op.n
    return round(kept_a * kept_b / (groups * op.k))


def trace_effective_macs(trace: Trace) -> int:
    """Effective multiply-accumulates of all operators, from the trace's masks where it has them."""
    return sum(effective_macs(op, trace.masks.get(op.name)) for op in trace)


def _kept(pattern: Pattern, rows: int, cols: int) -> int:
    if pattern.is_dense:
        return rows * cols
    exact = pattern.exact_nnz(rows, cols)
    return round(pattern.density * rows * cols) if exact is None else exact


def _text(pattern: Pattern | str | Mapping[str, Pattern | str]) -> str:
    if isinstance(pattern, Mapping):
        return ",".join(f"{glob}={_parsed(entry)}" for glob, entry in pattern.items())
    return str(_parsed(pattern))


def _parsed(pattern: Pattern | str) -> Pattern:
    return parse_pattern(pattern) if isinstance(pattern, str) else pattern


def _rules(
    pattern: Pattern | str | Mapping[str, Pattern | str], where: str | Sequence[str]
) -> dict[str, Pattern]:
    if isinstance(pattern, Mapping):
        if where != "*":
            raise CodesignError("patterns by layer name their layers: where is not used with them")
        rules = {glob: _parsed(entry) for glob, entry in pattern.items()}
    else:
        globs = [where] if isinstance(where, str) else list(where)
        rules = dict.fromkeys(globs, _parsed(pattern))
    if not rules:
        raise CodesignError("no layer is named: where is empty")
    return rules


def _weighted(op: Op) -> bool:
    return op.weight is not None and op.kind in (Kind.GEMM, Kind.CONV)


def _product_key(op: Op) -> str:
    """The name of the forward product that an operator is or is the gradient of."""
    name = op.name
    if op.phase is Phase.BACKWARD_DATA:
        return name.removesuffix(".backward_data")
    if op.phase is Phase.BACKWARD_WEIGHT:
        return name.removesuffix(".backward_weight")
    return name


def _assign(
    trace: Trace, layers: Sequence[Op], rules: Mapping[str, Pattern], skipped: set[str]
) -> dict[str, Pattern]:
    """The pattern of every layer that gets one, by the name of its forward product."""
    out: dict[str, Pattern] = {}
    matched: set[str] = set()
    for op in layers:
        glob = next((g for g in rules if fnmatchcase(op.layer, g) or fnmatchcase(op.name, g)), None)
        if glob is None:
            continue
        matched.add(glob)
        exact = glob in (op.layer, op.name)
        pattern = rules[glob]
        if pattern.is_dense or (op.name in skipped and not exact):
            continue
        if exact or _smallest_channels(op) >= (pattern.m if isinstance(pattern, NM) else 1):
            out[op.name] = pattern
    shadowed = [g for g in rules if g not in matched]
    for glob in shadowed:
        if any(fnmatchcase(op.layer, glob) or fnmatchcase(op.name, glob) for op in layers):
            continue
        raise CodesignError(
            f"{glob[:80]!r} matches none of the {len(layers)} layers with weights of {trace.name}"
            + suggestion(glob, [op.layer for op in layers])
        )
    return out


def _smallest_channels(op: Op) -> int:
    """Channels along which a group of the forward product lies."""
    return op.k if op.conv is None else op.conv.in_channels // op.conv.groups


def _first_and_last(trace: Trace, layers: Sequence[Op]) -> set[str]:
    consumers: dict[str, int] = {}
    for op in trace:
        if op.phase in FORWARD_PHASES and not _is_loss(op):
            for dep in op.deps:
                consumers[dep] = consumers.get(dep, 0) + 1
    ends = {op.name for op in layers if not op.deps or not consumers.get(op.name)}
    image = {op.name for op in layers if op.conv and op.conv.in_channels < _MIN_CONV_CHANNELS}
    skipped = ends | image
    return skipped if any(op.name not in skipped for op in layers) else set()


def _is_loss(op: Op) -> bool:
    """Whether an operator on logits belongs to the loss; attention's softmax reads no layer."""
    return op.layer == "loss" or op.function in ("cross_entropy", "softmax")


def _prune(op: Op, pattern: Pattern, method: Method) -> Op:
    group = pattern.m if isinstance(pattern, NM) else 1
    if op.phase in FORWARD_PHASES:
        if method.inputs:
            return replace(op, a_pattern=pattern)
        return replace(op, b_pattern=pattern) if method.forward else op
    if op.phase is Phase.BACKWARD_DATA:
        if op.conv is not None and op.conv.in_channels // op.conv.groups < group:
            return op
        if method.one_mask and isinstance(pattern, NM | Tiles | Split):
            return op
        if method.output_gradient:
            return replace(op, a_pattern=pattern)
        turned = pattern if isinstance(pattern, NM) else pattern.transpose()
        if method.nested and type(pattern) is NM and not pattern.is_dense:
            turned = DoublePruned(pattern.n, pattern.m)
        return replace(op, b_pattern=turned) if method.backward_data else op
    if op.gathers_gradient and method.backward_weight:
        return replace(op, a_pattern=pattern)
    return replace(op, b_pattern=pattern) if method.backward_weight else op
