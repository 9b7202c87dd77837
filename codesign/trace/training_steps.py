"""Training steps that are run otherwise: accumulated, recomputed, adapters only, mixed types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from codesign.config import CodesignError, suggestion
from codesign.trace.model import Model, Size
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.vector_work import function
from codesign.units import DTYPE_BYTES

_BACKWARD = (Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT)


def accumulated(step: Trace, micro_batches: int) -> Trace:
    """The training step run on `micro_batches` batches one after another, then updated once.

    From the second one on every gradient is added to the sum so far. MACs are `micro_batches` times
    those of the step.
    """
    _require_training(step, "gradients are accumulated")
    if micro_batches < 1:
        raise CodesignError(f"at least one micro-batch is run, got {micro_batches}")
    updates = [op for op in step if op.kind is Kind.UPDATE]
    summed = {dep for op in updates for dep in op.deps}
    ops: list[Op] = []
    latest: dict[str, str] = {}
    before: tuple[str, ...] = ()
    for number in range(micro_batches):
        own = f"micro{number}." if micro_batches > 1 else ""
        for op in step:
            if op.kind is Kind.UPDATE:
                continue
            deps = tuple(own + dep for dep in op.deps) or before
            ops.append(replace(op, name=own + op.name, deps=deps))
            if op.name in summed:
                if number:
                    ops.append(_sum(op, own, latest[op.name]))
                latest[op.name] = ops[-1].name
        before = (ops[-1].name,)
    for op in updates:
        ops.append(replace(op, deps=tuple(latest.get(dep, dep) for dep in op.deps)))
    meta = {**step.meta, "micro_batches": micro_batches}
    return replace(step, ops=tuple(ops), masks={}, meta=meta)


def _sum(gradient: Op, own: str, so_far: str) -> Op:
    work = function("add").forward
    elements = gradient.c_elements if gradient.is_matmul else gradient.writes
    return Op(
        name=f"{own}{gradient.name}.accumulate", kind=Kind.ELEMENTWISE,
        phase=Phase.BACKWARD_WEIGHT, layer=gradient.layer, function="add", elements=elements,
        passes=work.passes, alu_per_element=work.alu, reads=2 * elements, writes=elements,
        a_dtype=gradient.c_dtype, c_dtype=gradient.c_dtype, repeats=gradient.repeats,
        deps=(own + gradient.name, so_far),
    )  # fmt: skip


def recomputed(step: Trace, where: Sequence[str] = ("*",)) -> Trace:
    """The training step with the activations of whole layers computed again before their gradients.

    A layer is what shares a name up to its first number, such as `layers.3`; `where` selects them
    by globs. Only what enters a layer is kept. MACs grow by those of the forward operators that run
    again, which are named `.recomputed`. Raises CodesignError for globs that match no layer.
    """
    _require_training(step, "activations are recomputed")
    blocks = {op.name: block for op in step if (block := _block(op.layer)) is not None}
    for glob in where:
        if not any(fnmatchcase(block, glob) for block in blocks.values()):
            raise CodesignError(
                f"{glob[:80]!r} matches no numbered layer of {step.name}"
                + suggestion(glob, sorted(set(blocks.values())))
            )
    again: dict[str, list[Op]] = {}
    for op in step:
        block = blocks.get(op.name)
        chosen = block is not None and any(fnmatchcase(block, glob) for glob in where)
        if op.phase is Phase.FORWARD and chosen and block is not None:
            again.setdefault(block, []).append(op)
    inside = {op.name for ops in again.values() for op in ops}
    ops: list[Op] = []
    done: set[str] = set()
    for op in step:
        block = blocks.get(op.name)
        if op.phase not in _BACKWARD or block not in again:
            ops.append(op)
            continue
        if block not in done:
            done.add(block)
            trigger = tuple(dep for dep in op.deps if dep not in inside)
            ops += [_again(each, again[block], trigger) for each in again[block]]
        names = {each.name for each in again[block]}
        deps = (f"{dep}.recomputed" if dep in names else dep for dep in op.deps)
        ops.append(replace(op, deps=tuple(dict.fromkeys(deps))))
    return replace(step, ops=tuple(ops), meta={**step.meta, "recomputed": ",".join(where)})


def _block(layer: str) -> str | None:
    parts = layer.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    return None if number is None else ".".join(parts[: number + 1])


def _again(op: Op, block: Sequence[Op], trigger: tuple[str, ...]) -> Op:
    names = {each.name for each in block}
    deps = [f"{dep}.recomputed" if dep in names else dep for dep in op.deps]
    if not any(dep in names for dep in op.deps):
        deps += trigger
    return replace(op, name=f"{op.name}.recomputed", deps=tuple(dict.fromkeys(deps)))


def adapted(
    model: Model, rank: int, size: Size, *, where: Sequence[str] = ("*.attention.*",)
) -> Trace:
    """Training of low-rank adapters alone (Hu et al. 2021, arXiv 2106.09685).

    Every linear layer that a glob of `where` matches gets `lora_a` (rank rows), `lora_b` and an
    addition; all other parameters are frozen: gradients pass through their layers, from the last to
    the first adapter. Globs see the names of the specification (`layers.3.attention.q`).
    """
    if rank < 1:
        raise CodesignError(f"an adapter has at least rank 1, got {rank}")

    def change(forward: Trace) -> Trace:
        return _with_adapters(forward, rank, where)

    trace = model.trace("training", size, change=change, trainable=_is_adapter)
    return replace(trace, meta={**trace.meta, "adapter_rank": rank})


def _is_adapter(parameter: str) -> bool:
    return parameter.endswith((".lora_a.weight", ".lora_b.weight"))


def _with_adapters(forward: Trace, rank: int, where: Sequence[str]) -> Trace:
    ops: list[Op] = []
    parameters = dict(forward.parameters)
    output: dict[str, str] = {}
    for op in forward:
        deps = tuple(output.get(dep, dep) for dep in op.deps)
        ops.append(replace(op, deps=deps))
        plain = op.kind is Kind.GEMM and op.weight is not None and op.groups == 1
        if not plain or not any(fnmatchcase(op.layer, glob) for glob in where):
            continue
        down = _adapter(op, "lora_a", rank, op.k, deps)
        up = _adapter(op, "lora_b", op.n, rank, (down.name,))
        work = function("add").forward
        total = Op(
            name=f"{op.name}.lora_add", kind=Kind.ELEMENTWISE, phase=op.phase,
            layer=f"{op.layer}.lora_add", function="add", elements=op.c_elements,
            passes=work.passes, alu_per_element=work.alu, reads=2 * op.c_elements,
            writes=op.c_elements, a_dtype=op.c_dtype, c_dtype=op.c_dtype, deps=(op.name, up.name),
        )  # fmt: skip
        ops += [down, up, total]
        output[op.name] = total.name
        for each in (down, up):
            parameters[f"{each.layer}.weight"] = each.n * each.k
    if not output:
        raise CodesignError(f"{', '.join(where)[:80]!r} matches no linear layer of {forward.name}")
    return replace(forward, ops=tuple(ops), parameters=parameters)


def _adapter(op: Op, part: str, n: int, k: int, deps: tuple[str, ...]) -> Op:
    layer = f"{op.layer}.{part}"
    return replace(
        op, name=f"{op.name}.{part}", layer=layer, weight=f"{layer}.weight", n=n, k=k, deps=deps
    )


def with_dtypes(
    trace: Trace,
    *,
    weights: str | None = None,
    activations: str | None = None,
    cache: str | None = None,
    gradients: str | None = None,
) -> Trace:
    """The trace with data types by what a tensor is; None leaves what the trace has.

    `weights` are those that products read (updates keep their master weights in fp32 and write the
    copy), `cache` is K and V of attention, `gradients` includes those of weights.
    """
    for name in (weights, activations, cache, gradients):
        if name is not None and name not in DTYPE_BYTES:
            raise CodesignError(
                f"no data type {name[:40]!r} (known: {', '.join(DTYPE_BYTES)})"
                + suggestion(name, list(DTYPE_BYTES))
            )
    kinds = {"w": weights, "x": activations, "c": cache, "g": gradients}

    def typed(op: Op) -> Op:
        roles = dict(zip(("a_dtype", "b_dtype", "c_dtype"), _roles(op), strict=True))
        changed = {field: kinds[role] for field, role in roles.items() if kinds.get(role)}
        return replace(op, **changed) if changed else op  # type: ignore[arg-type]

    meta = {f"dtype.{key}": value for key, value in (
        ("weights", weights), ("activations", activations), ("cache", cache),
        ("gradients", gradients),
    ) if value is not None}  # fmt: skip
    return replace(trace, ops=tuple(map(typed, trace)), meta={**trace.meta, **meta})


def _roles(op: Op) -> tuple[str, str, str]:
    """What A, B and C of an operator are: weights, activations (x), cache, gradients, or other."""
    if op.kind is Kind.UPDATE:
        return "g", "-", "w"
    backward = op.phase in _BACKWARD
    if op.kind is Kind.ATTENTION:
        return ("g", "c", "g") if backward else ("x", "c", "x")
    if op.is_matmul and op.phase is Phase.BACKWARD_DATA:
        return "g", "w", "g"
    if op.is_matmul and backward:
        return ("g", "x", "g") if op.gathers_gradient else ("x", "g", "g")
    if op.is_matmul:
        return "x", "w" if op.weight is not None else "x", "x"
    if op.function == "kv_cache_write":
        return "x", "-", "c"
    return ("g", "-", "g") if backward else ("x", "-", "x")


def _require_training(step: Trace, what: str) -> None:
    if not any(op.kind is Kind.UPDATE for op in step):
        raise CodesignError(f"{step.name}: {what} in a training step, this trace is none")
