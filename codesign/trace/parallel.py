"""Tensor-parallel shards of transformers, as one device sees them."""

from __future__ import annotations

from dataclasses import replace

from codesign.config import CodesignError
from codesign.trace.model import Model, Size
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.spec import WorkloadSpec
from codesign.trace.transformer import Decoder, Encoder
from codesign.trace.vector_work import function

_PARTIAL = (".attention.out", ".mlp.down", ".mlp.combine")
"""Products along a split reduction: their outputs are summed over all shards."""
_SPLIT = (
    ".attention.q", ".attention.k", ".attention.v", ".attention.qkv", ".mlp.gate", ".mlp.up",
    ".mlp.gate_up", "lm_head",
)  # fmt: skip
"""Products whose outputs are split: gradients of their inputs are summed over all shards."""


def sharded(model: Model, ways: int, phase: str, size: Size) -> Trace:
    """What one of `ways` devices runs of a model split as in Megatron-LM (arXiv 1909.08053).

    Heads, MLP and vocabulary are split; norms, positions and biases of split reductions are on
    every device. An `all_reduce` behind each of the latter, and behind the embedding, is an
    operator that reads and writes the tensor once, with the elements that a ring sends and receives
    (2 (ways - 1) / ways of it each way) as second operand. Gathering the logits is left out. Raises
    CodesignError where heads or widths do not divide; fewer key-value heads than devices are
    repeated.
    """
    if not 1 <= ways <= 1 << 16:
        raise CodesignError(f"ways of tensor parallelism are from 1 to {1 << 16}, got {ways}")
    if ways == 1:
        return model.trace(phase, size)
    shard = replace(model, spec=shard_spec(model, ways), names=None)

    def change(forward: Trace) -> Trace:
        return _reduced(forward, ways)

    trace = shard.trace(phase, size, change=change)
    if phase == "training":
        trace = _reduced_gradients(trace, ways)
    if model.names is not None:
        from codesign.trace.hf_names import renamed

        trace = renamed(trace, model.names)
    return replace(trace, meta={**trace.meta, "tensor_parallel": ways})


def shard_spec(model: Model, ways: int) -> WorkloadSpec:
    """The specification of one of `ways` shards."""
    spec = model.spec
    if not isinstance(spec, Decoder | Encoder):
        raise CodesignError(f"{spec.name}: only encoders and decoders are split here")
    kv_heads = spec.kv_heads or spec.heads
    sizes = {"heads": spec.heads, "mlp_width": spec.mlp_width}
    if spec.experts is not None:
        sizes["experts.width"] = spec.experts.width
    for name, whole in sizes.items():
        if whole % ways:
            raise CodesignError(f"{spec.name}: {name} {whole} is no multiple of {ways} devices")
    if kv_heads % ways and ways % kv_heads:
        raise CodesignError(f"{spec.name}: kv_heads {kv_heads} and {ways} devices do not divide")
    changed: dict[str, object] = {
        "heads": spec.heads // ways, "kv_heads": max(1, kv_heads // ways),
        "head_dim": spec.head_dim or spec.width // spec.heads,
        "mlp_width": spec.mlp_width // ways, "vocabulary": -(-spec.vocabulary // ways),
        "name": spec.name,
    }  # fmt: skip
    if spec.experts is not None:
        experts = {key: getattr(spec.experts, key) for key in type(spec.experts).model_fields}
        experts["width"] //= ways
        experts["shared_width"] //= ways
        changed["experts"] = type(spec.experts)(**experts)
    return model.with_spec(**changed).spec


def _reduced(forward: Trace, ways: int) -> Trace:
    ops: list[Op] = []
    output: dict[str, str] = {}
    for op in forward:
        ops.append(replace(op, deps=tuple(output.get(dep, dep) for dep in op.deps)))
        if op.name.endswith(_PARTIAL) or op.kind is Kind.EMBEDDING:
            elements = op.c_elements if op.is_matmul else op.writes
            reduce = _all_reduce(op, f"{op.name}.all_reduce", elements, (op.name,), ways)
            ops.append(reduce)
            output[op.name] = reduce.name
    return replace(forward, ops=tuple(ops))


def _reduced_gradients(step: Trace, ways: int) -> Trace:
    partial = {
        op.name: op
        for op in step
        if op.phase is Phase.BACKWARD_DATA
        and op.is_matmul
        and op.kind is not Kind.ATTENTION
        and op.layer.endswith(_SPLIT)
    }
    ops: list[Op] = []
    for op in step:
        deps = [dep for dep in op.deps if dep in partial]
        if deps and op.name not in partial:
            source = partial[deps[0]]
            reduce = _all_reduce(op, f"{op.name}.all_reduce", source.c_elements, tuple(deps), ways)
            reduce = replace(reduce, phase=Phase.BACKWARD_DATA, layer=source.layer)
            ops.append(reduce)
            rest = tuple(dep for dep in op.deps if dep not in partial)
            op = replace(op, deps=(reduce.name, *rest))
        ops.append(op)
    return replace(step, ops=tuple(ops))


def _all_reduce(op: Op, name: str, elements: int, deps: tuple[str, ...], ways: int) -> Op:
    work = function("all_reduce").forward
    moved = -(-2 * (ways - 1) * elements // ways)
    return Op(
        name=name, kind=Kind.ELEMENTWISE, phase=op.phase, layer=name, function="all_reduce",
        elements=elements, passes=work.passes, alu_per_element=work.alu, reads=elements,
        writes=elements, b_reads=moved, b_writes=moved, a_dtype=op.c_dtype, b_dtype=op.c_dtype,
        c_dtype=op.c_dtype, repeats=op.repeats, deps=deps,
    )  # fmt: skip
