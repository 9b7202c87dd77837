"""Activations with zeros: input channels, chunks of tokens, frames, positions, whole tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from codesign.config import CodesignError
from codesign.sparsity.pattern import Pattern, Rows
from codesign.sparsity.removal import kept_of, require_fraction
from codesign.trace.op import Kind, Op, Trace
from codesign.trace.sparsify import matched_layers
from codesign.trace.transform_slices import layer_number, scaled
from codesign.trace.transform_weights import grown, require_inference, vector_op


def skip_channels(
    trace: Trace,
    removed: float,
    where: str | Sequence[str] = "*",
    *,
    low_rank: int = 0,
    differences: bool = False,
) -> Trace:
    """Products that read only the input channels that a token keeps (TEAL, WINA, R-Sparse).

    A weight's column is read if any row of A keeps its channel; rows choose independently, so that
    1 - removed**m of the channels remain, and a batch gains little. Comparing every input is
    charged as a vector operator. With `low_rank` the channels left out pass two thin products
    (R-Sparse); with `differences` inputs are first subtracted from those of the last frame (delta
    activations).
    """
    require_inference(trace, "input channels that are skipped")
    removed = require_fraction(removed)
    chosen = set(matched_layers(trace, where))
    ops: list[Op] = []
    parameters = dict(trace.parameters)
    for op in trace:
        if op.name not in chosen or op.conv is not None or op.groups != 1:
            ops.append(op)
            continue
        kept = min(op.k, max(1, int((1 - removed**op.m) * op.k + 0.5)))
        select = vector_op(op, f"{op.name}.select", "add" if differences else "relu",
                           op.m * op.k, op.deps)  # fmt: skip
        ops.append(select)
        short = replace(op, k=kept, deps=(select.name,))
        if not low_rank:
            ops.append(short)
            continue
        down = replace(
            op, name=f"{op.name}.down", layer=f"{op.layer}.down", n=low_rank, deps=(select.name,),
            weight=f"{op.layer}.down.weight",
        )  # fmt: skip
        up = replace(
            op, name=f"{op.name}.up", layer=f"{op.layer}.up", k=low_rank, deps=(down.name,),
            weight=f"{op.layer}.up.weight",
        )  # fmt: skip
        parameters[str(down.weight)], parameters[str(up.weight)] = down.n * down.k, up.n * up.k
        short = replace(short, name=f"{op.name}.core")
        added = vector_op(op, op.name, "add", op.m * op.n, (short.name, up.name))
        ops += [short, down, up, added]
    return replace(grown(trace, ops), parameters=parameters)


def skip_chunks(
    trace: Trace, removed: float, tokens: int, where: str | Sequence[str] = "*"
) -> Trace:
    """Products in chunks of some tokens, each of which skips a fraction of the input channels.

    BlockFFN's chunk-level sparsity: `removed` is the fraction that no token of a chunk uses. The
    weights of every chunk are read again.
    """
    require_inference(trace, "chunks of tokens")
    removed = require_fraction(removed)
    chosen = set(matched_layers(trace, where))
    ops = []
    for op in trace:
        if op.name in chosen and op.conv is None and op.groups == 1:
            chunks = -(-op.m // tokens)
            kept = max(1, kept_of(removed, op.k))
            op = replace(op, m=min(op.m, tokens), k=kept, repeats=op.repeats * chunks)
        ops.append(op)
    return grown(trace, ops)


def set_activations(trace: Trace, pattern: Pattern, where: str | Sequence[str] = "*") -> Trace:
    """Products whose A has a pattern: rows are positions or tokens, columns the reduction.

    `row(S)` is semi-structured activation sparsity (whole columns of im2col vanish),
    `unstructured(S)` what a ReLU leaves, N:M what a product of pruned gradients reads.
    """
    chosen = set(matched_layers(trace, where))
    return grown(
        trace, [replace(op, a_pattern=pattern) if op.name in chosen else op for op in trace]
    )


def skip_positions(trace: Trace, removed: float, where: str | Sequence[str] = "*") -> Trace:
    """Products that leave out a fraction of their output positions."""
    return set_activations(trace, Rows(require_fraction(removed)), where)


def prune_tokens(trace: Trace, removed: float, first: int = 1) -> Trace:
    """A pass whose layers from number `first` on see only a share of the tokens.

    Tokens of language models (FTP), windows and patches of vision (SparseViT, ATP-LLaVA). Scoring
    the tokens reads them all once. Raises CodesignError for a decode step or without layers.
    """
    require_inference(trace, "token pruning")
    removed = require_fraction(removed)
    whole = _tokens(trace)
    kept = max(1, kept_of(removed, whole))
    ops: list[Op] = []
    select: Op | None = None
    for op in trace:
        found = layer_number(op.name)
        if found is None or found[0] < first:
            ops.append(op)
            continue
        if select is None:
            width = op.elements if not op.is_matmul else op.m * op.k
            select = vector_op(op, "tokens.select", "copy", width, op.deps)
            select = replace(select, layer="tokens")
            ops.append(select)
        known = {made.name for made in ops}
        inside = tuple(
            dep if (at := layer_number(dep)) and at[0] >= first else select.name for dep in op.deps
        )
        deps = tuple(dict.fromkeys(dep for dep in inside if dep in known))
        ops.append(replace(_fewer(op, kept, whole), deps=deps))
    if select is None:
        raise CodesignError(f"{trace.name} has no layer {first}")
    return grown(trace, ops)


def _tokens(trace: Trace) -> int:
    """The tokens of a sequence, from the first score matrix."""
    for op in trace:
        if op.kind is Kind.ATTENTION and op.name.endswith(".scores"):
            if op.m % op.n:
                break
            return op.n
    raise CodesignError(f"{trace.name} has no pass over all tokens: their number is not known")


def _fewer(op: Op, kept: int, whole: int) -> Op:
    if op.kind is Kind.ATTENTION:
        score = op.name.endswith(".scores")
        return replace(
            op, m=op.m // whole * kept, n=kept if score else op.n, k=op.k if score else kept
        )
    if op.is_matmul:
        return replace(op, m=op.m // whole * kept if op.m % whole == 0 else op.m)
    fewer = scaled(op, kept, whole)
    return scaled(fewer, kept, whole) if op.kind is Kind.SOFTMAX else fewer
