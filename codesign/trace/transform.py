"""Every way to make a trace sparse, from one text: patterns, forms of weights, and changes.

`2:4`, `monarch(32)`, `window(4096) & kv(unstructured(0.7))`: parts joined by `&` apply from left to
right. A change rewrites operators, so that every machine runs what is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from codesign.config import CodesignError, did_you_mean
from codesign.sparsity.allocation import erdos_renyi_kernel
from codesign.sparsity.butterfly import FlatButterfly
from codesign.sparsity.factors import parse_form
from codesign.sparsity.hybrid import Split, Tiles
from codesign.sparsity.pattern import Pattern, Unstructured, parse_pattern
from codesign.sparsity.quantised import MixedBanks, ScaledGroups
from codesign.trace import transform_attention as attention
from codesign.trace import transform_inputs as inputs
from codesign.trace import transform_slices as slices
from codesign.trace.kv_cache import prune_kv_cache
from codesign.trace.op import Kind, Op, Trace
from codesign.trace.sparsify import matched_layers, sparsify
from codesign.trace.transform_weights import restructure

Where = str | Sequence[str]
_CALL = re.compile(r"([a-z_]+)\((.*)\)", re.ASCII | re.DOTALL)
_PATTERN_NAMES = (
    "double", "transposable", "nmg", "sq", "unstructured", "row", "column", "fan_in", "fan_out",
    "block", "gqsa", "tiles", "split", "butterfly",
)  # fmt: skip
_MAX_TEXT = 300


@dataclass(frozen=True)
class Change:
    """A change by name: what its brackets hold, and what it does."""

    form: str
    about: str
    apply: Callable[[Trace, list[str], Where], Trace]


def _number(text: str) -> float:
    if not re.fullmatch(r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?", text, re.ASCII):
        raise CodesignError(f"a fraction removed is a number such as 0.5, got {text[:40]!r}")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise CodesignError(f"a size is a whole number, got {text[:40]!r}")
    return int(text)


def _positive(text: str) -> int:
    if (value := _count(text)) < 1:
        raise CodesignError("a size is at least 1, got 0")
    return value


def _erk(trace: Trace, given: list[str], where: Where) -> Trace:
    shapes = {name: _weight_shape(trace[name]) for name in matched_layers(trace, where)}
    shares = erdos_renyi_kernel(_number(given[0]), shapes)
    return sparsify(trace, {name: Unstructured(share) for name, share in shares.items()})


def _weight_shape(op: Op) -> tuple[int, ...]:
    if (conv := op.conv) is None:
        return op.n, op.k
    depth = (conv.kernel_d,) if conv.in_d > 1 else ()
    return (op.n, conv.in_channels // conv.groups, *depth, conv.kernel_h, conv.kernel_w)


CHANGES: Mapping[str, Change] = {
    "erk": Change(
        "erk(S)", "unstructured, shared out to layers by ERK",
        lambda t, a, w: _erk(t, a, w),
    ),
    "mlp": Change(
        "mlp(S)", "hidden units of every MLP removed",
        lambda t, a, w: slices.slice_mlp(t, _number(a[0])),
    ),
    "neurons": Change(
        "neurons(S)", "hidden units of every MLP that a step leaves out",
        lambda t, a, w: slices.slice_mlp(t, _number(a[0]), stored=False),
    ),
    "heads": Change(
        "heads(S)", "attention heads removed",
        lambda t, a, w: slices.slice_heads(t, _number(a[0])),
    ),
    "filters": Change(
        "filters(S)",
        "filters of every convolution removed, with the channels that read them",
        lambda t, a, w: slices.slice_filters(t, _number(a[0])),
    ),
    "layers": Change(
        "layers(S)", "layers removed",
        lambda t, a, w: slices.drop_layers(t, _number(a[0])),
    ),
    "slice": Change(
        "slice(S)", "residual stream narrowed, links rotated (SliceGPT)",
        lambda t, a, w: slices.slice_width(t, _number(a[0])),
    ),
    "channels": Change(
        "channels(S)", "input channels that each token leaves out",
        lambda t, a, w: inputs.skip_channels(t, _number(a[0]), w),
    ),
    "rsparse": Change(
        "rsparse(S, R)", "input channels left out, a low rank instead",
        lambda t, a, w: inputs.skip_channels(t, _number(a[0]), w, low_rank=_positive(a[1])),
    ),
    "delta": Change(
        "delta(S)", "input channels that did not change since the last frame",
        lambda t, a, w: inputs.skip_channels(t, _number(a[0]), w, differences=True),
    ),
    "chunks": Change(
        "chunks(S, T)", "input channels that no token of a chunk of T uses",
        lambda t, a, w: inputs.skip_chunks(t, _number(a[0]), _positive(a[1]), w),
    ),
    "positions": Change(
        "positions(S)", "output positions left out (columns of im2col)",
        lambda t, a, w: inputs.skip_positions(t, _number(a[0]), w),
    ),
    "activations": Change(
        "activations(PATTERN)", "a pattern on the inputs of products",
        lambda t, a, w: inputs.set_activations(t, parse_pattern(", ".join(a)), w),
    ),
    "tokens": Change(
        "tokens(S, L)", "tokens or windows left out from layer L on",
        lambda t, a, w: inputs.prune_tokens(t, _number(a[0]), _count(a[1])),
    ),
    "window": Change(
        "window(W)", "attention to the last W keys",
        lambda t, a, w: attention.window_attention(t, _positive(a[0])),
    ),
    "blocks": Change(
        "blocks(B, S)", "blocks of B keys left out, chosen by a gate",
        lambda t, a, w: attention.block_attention(t, _positive(a[0]), _number(a[1])),
    ),
    "double_sparsity": Change(
        "double_sparsity(S, C)", "keys left out, chosen by a share of the channels",
        lambda t, a, w: attention.double_sparsity(t, _number(a[0]), _number(a[1])),
    ),
    "attention_map": Change(
        "attention_map(FILE)", "blocks that a file of masks leaves out",
        lambda t, a, w: attention.attention_map(t, ", ".join(a)),
    ),
    "evict": Change(
        "evict(S)", "positions gone from the cache",
        lambda t, a, w: attention.evict_keys(t, _number(a[0])),
    ),
    "kv": Change(
        "kv(PATTERN)", "a pattern on cached keys and values",
        lambda t, a, w: prune_kv_cache(t, ", ".join(a)),
    ),
    "kv_rank": Change(
        "kv_rank(R)", "keys and values cached at a joint width of R",
        lambda t, a, w: attention.compress_cache(t, _positive(a[0])),
    ),
}  # fmt: skip
_ARGUMENTS = {name: (change.form.count(",") + 1) for name, change in CHANGES.items()}
_FREE = {"activations", "kv", "attention_map"}
_REWRITES = {*CHANGES, "split", "tiles", "butterfly", "sq", "gqsa"}
"""Names of changes, and of patterns that need more than a pattern on an operator."""


def is_change(text: str) -> bool:
    """Whether a text is more, or other, than a pattern that `sparsify` places."""
    name = re.match(r"\s*([a-z_]+)\(", text)
    if "&" in text or "+" in text or (name and name[1] in _REWRITES):
        return True
    try:
        parse_pattern(text)
    except CodesignError:
        return True
    return False


def make_sparse(trace: Trace, text: str, where: Where = "*", *, method: str | None = None) -> Trace:
    """The trace made sparse as a text says: patterns, forms of weights and changes, joined by `&`.

    `where` limits all parts that place something on layers, `method` those that are patterns.
    Raises CodesignError that names the part and what is allowed.

    >>> from codesign.trace.workload import load_workload
    >>> trace = load_workload("gpt2", phase="decode", context=512)
    >>> make_sparse(trace, "mlp(0.5) & window(128)")["layers.0.attention.scores"].n
    128
    """
    if len(text) > _MAX_TEXT:
        raise CodesignError(f"a way to make a trace sparse has at most {_MAX_TEXT} characters")
    for part in text.split("&"):
        trace = _step(part.strip())(trace, where, method)
    return replace(trace, meta={**trace.meta, "sparsity": text.strip()})


def require_sparsity(text: str) -> None:
    """Raise CodesignError unless every part of a text is known and takes what it is given."""
    for part in text.split("&"):
        _step(part.strip())


def _step(text: str) -> Callable[[Trace, Where, str | None], Trace]:
    """What one part of a text does to a trace."""
    call = _CALL.fullmatch(text)
    if call and call[1] in CHANGES:
        change, given = CHANGES[call[1]], [part.strip() for part in call[2].split(",")]
        if call[1] not in _FREE and len(given) != _ARGUMENTS[call[1]]:
            raise CodesignError(f"{text[:60]!r}: write {change.form}")
        return lambda trace, where, method: change.apply(trace, given, where)
    if "+" in text or re.match(r"lowrank|monarch|butterfly_factors|armor", text):
        form = parse_form(text)
        return lambda trace, where, method: restructure(trace, form, where)
    try:
        pattern = parse_pattern(text)
    except CodesignError:
        hint = did_you_mean(call[1], [*_PATTERN_NAMES, *CHANGES]) if call else None
        if call is None or call[1] in _PATTERN_NAMES or hint in _PATTERN_NAMES:
            raise
        raise CodesignError(
            f"{text[:40]!r} is no pattern, no form such as monarch(32) or 2:4+lowrank(64), and no "
            "change; "
            + (f"did you mean {CHANGES[hint].form}?" if hint else f"changes: {', '.join(CHANGES)}")
        ) from None
    return lambda trace, where, method: _placed(trace, pattern, where, method)


def _placed(trace: Trace, pattern: Pattern, where: Where, method: str | None) -> Trace:
    if isinstance(pattern, Split | Tiles | MixedBanks | FlatButterfly):
        return restructure(trace, pattern, where)
    sparse = sparsify(trace, pattern, where=where, method=method)
    if not isinstance(pattern, ScaledGroups):
        return sparse
    ops = tuple(
        replace(op, b_dtype="int4") if op.b_pattern == pattern and op.kind is Kind.GEMM else op
        for op in sparse
    )
    return replace(sparse, ops=ops)
