"""Weighted products become the products of a form: low rank, Monarch, split dense + N:M, ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from codesign.config import CodesignError
from codesign.sparsity.butterfly import FlatButterfly
from codesign.sparsity.factors import Form, Product
from codesign.sparsity.hybrid import Split, Tiles
from codesign.sparsity.nm import NM
from codesign.sparsity.pattern import Pattern
from codesign.sparsity.quantised import MixedBanks
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.sparsify import matched_layers
from codesign.trace.training import train
from codesign.trace.vector_work import function

_BACKWARD = (Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT, Phase.UPDATE)


def restructure(trace: Trace, form: Form | Pattern, where: str | Sequence[str] = "*") -> Trace:
    """The trace with matching linear layers replaced by the products of a form.

    The last product keeps the operator's name, so that its consumers stay as they are; gradients
    of a training step are derived again. Convolutions and grouped products are left as they are.
    Of patterns, `split` and `tiles` become a dense and an N:M product, `sq` a low and a high one,
    and a flat butterfly one group for each block row. Raises CodesignError where nothing matches.
    """
    if is_training(trace):
        if isinstance(form, Split | Tiles | MixedBanks):
            raise CodesignError(f"{form} is a form of finished weights: it has no training step")
        return retrained(trace, lambda forward: restructure(forward, form, where))
    chosen = {
        name
        for name in matched_layers(trace, where)
        if trace[name].conv is None and trace[name].groups == 1
    }
    if not chosen:
        raise CodesignError(f"{form}: no linear layer of {trace.name} matches {where!r}")
    ops: list[Op] = []
    parameters = dict(trace.parameters)
    for op in trace:
        if op.name in chosen:
            parameters.pop(str(op.weight), None)
            made = _replaced(op, form)
            parameters.update({str(o.weight): o.groups * o.n * o.k for o in made if o.weight})
            ops.extend(made)
        else:
            ops.append(op)
    masks = {name: mask for name, mask in trace.masks.items() if name not in chosen}
    return replace(trace, ops=tuple(ops), parameters=parameters, masks=masks)


def paths_of(form: Form | Pattern, rows: int, cols: int) -> tuple[tuple[Product, ...], ...]:
    """The chains of products that run in the place of one."""
    if isinstance(form, Form):
        return form.paths(rows, cols)
    if isinstance(form, Split | Tiles):
        height, width = form.tile(rows, cols)
        tiles = -(-rows // height) * -(-cols // width)
        sparse = round(rows * form.sparse_tiles(rows, cols) / tiles)
        parts = (
            Product("dense", rows - sparse, cols),
            Product("sparse", sparse, cols, pattern=NM(form.n, form.m)),
        )
        return tuple((part,) for part in parts if part.n)
    if isinstance(form, MixedBanks):
        return (
            (Product("low", rows, cols, dtype="int4"),),
            (Product("high", rows, cols, pattern=NM(form.n, form.m), dtype="int8"),),
        )
    if isinstance(form, FlatButterfly):
        width = form.blocks_per_row * -(-cols // form.grid)
        return ((Product("blocks", -(-rows // form.grid), width, form.grid),),)
    raise CodesignError(f"{form} is a pattern of one product; nothing takes its place")


def _replaced(op: Op, form: Form | Pattern) -> list[Op]:
    paths = paths_of(form, op.n, op.k)
    joined = isinstance(form, Split | Tiles)
    added = len(paths) > 1 and not joined
    has_core = any(product.name == "core" for path in paths for product in path)
    out: list[Op] = []
    ends: list[str] = []
    for number, path in enumerate(paths):
        deps = op.deps
        for place, product in enumerate(path):
            last = not added and number == len(paths) - 1 and place == len(path) - 1
            core = product.name == "core" if has_core else last
            name = op.name if last else f"{op.name}.{product.name}"
            deps = (*deps, *ends) if last and joined else deps
            out.append(
                replace(
                    op, name=name, layer=op.layer if core else f"{op.layer}.{product.name}",
                    weight=op.weight if core else f"{op.layer}.{product.name}.weight",
                    groups=product.groups, n=product.n, k=product.k, b_pattern=product.pattern,
                    b_dtype=product.dtype or op.b_dtype, deps=deps,
                )
            )  # fmt: skip
            deps = (name,)
        ends.append(deps[0])
    if added:
        out.append(vector_op(op, op.name, "add", op.m * op.n, tuple(ends), inputs=len(ends)))
    return out


def vector_op(
    op: Op, name: str, what: str, elements: int, deps: tuple[str, ...], *, inputs: int = 0
) -> Op:
    """A vector operator beside `op`; sums of more than two inputs read each of them."""
    row = function(what)
    work = row.forward
    terms = max(inputs - 1, 1)
    reduced = row.kind is Kind.REDUCTION
    return Op(
        name=name, kind=row.kind, phase=op.phase, layer=op.layer, function=what,
        elements=elements, passes=work.passes, alu_per_element=work.alu * terms,
        special_per_element=work.special, reads=elements * (inputs or work.reads),
        writes=0 if reduced else elements * work.writes, a_dtype=op.c_dtype, c_dtype=op.c_dtype,
        repeats=op.repeats, deps=deps,
    )  # fmt: skip


def is_training(trace: Trace) -> bool:
    """Whether the trace has gradients or updates."""
    return any(op.phase in _BACKWARD for op in trace)


def retrained(trace: Trace, change: Callable[[Trace], Trace]) -> Trace:
    """A training step with `change` on its forward operators and gradients derived again.

    Parameters without an update stay frozen.
    """
    forward = tuple(op for op in trace if op.phase not in _BACKWARD)
    names = {op.name for op in forward}
    masks = {name: mask for name, mask in trace.masks.items() if name in names}
    changed = change(replace(trace, ops=forward, masks=masks))
    updated = {op.layer for op in trace if op.kind is Kind.UPDATE}
    frozen = {p for p in trace.parameters if p.rpartition(".")[0] not in updated and updated}
    roots = {f"{op.name}.backward_data" for op in forward if op.is_matmul and not op.deps}
    return train(
        changed, optimizer_name=str(trace.meta.get("optimizer", "sgd_momentum")),
        input_gradient=any(op.name in roots for op in trace),
        trainable=(lambda parameter: parameter not in frozen) if frozen else None,
    )  # fmt: skip


def require_inference(trace: Trace, what: str) -> None:
    """Raise CodesignError for a training step, of which `what` has no gradient rule here."""
    if is_training(trace):
        raise CodesignError(f"{what} is for inference; {trace.name} is a training step")


def grown(trace: Trace, ops: Sequence[Op]) -> Trace:
    """The trace with other operators; masks of operators that are gone or differ are dropped."""
    shapes = {op.name: (prod((op.groups, op.n)), op.k) for op in ops}
    masks = {
        name: mask
        for name, mask in trace.masks.items()
        if name in shapes and mask.shape == shapes[name]
    }
    return replace(trace, ops=tuple(ops), masks=masks)
