"""Completes the shapes of an ONNX graph, folding the arithmetic on shapes that exporters leave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_MAX_ELEMENTS = 4096
"""Constants up to this size are evaluated: shapes, indices, scales."""
_FOLDED = frozenset(
    {
        "Shape", "Size", "Gather", "Concat", "Slice", "Add", "Sub", "Mul", "Div", "Mod", "Cast",
        "Reshape", "Squeeze", "Unsqueeze", "Range", "ConstantOfShape", "Equal", "Where", "Constant",
        "Identity", "Floor", "Ceil", "Min", "Max", "Neg", "Abs", "ReduceProd", "ReduceSum", "Sqrt",
        "Expand", "Not", "And", "Or", "Less", "Greater", "Transpose", "Flatten", "Split",
        "CastLike",
    }
)  # fmt: skip
_MAKES = frozenset({"ConstantOfShape", "Expand", "Range", "Where", "Add", "Mul"})
"""Folded operators whose output may be larger than their inputs."""


def complete_shapes(model: Any) -> dict[str, Any]:
    """The type of every tensor whose shape follows from the inputs, as TypeProto by name.

    Nodes are taken in order: what depends on constants and shapes alone is evaluated where it is
    small, everything else is inferred with these values at hand.
    """
    import onnx

    types: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for tensor in model.graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        if np.prod(tensor.dims, dtype=np.int64) <= _MAX_ELEMENTS and not tensor.external_data:
            values[tensor.name] = tensor
    for value in model.graph.input:
        types.setdefault(value.name, value.type)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        for name, array in _evaluated(node, types, values).items():
            values[name] = onnx.numpy_helper.from_array(array, name)
            types[name] = onnx.helper.make_tensor_type_proto(values[name].data_type, array.shape)
        if all(name in types for name in node.output if name):
            continue
        types |= _inferred(node, types, values, versions, model.ir_version)
    return types


def _evaluated(node: Any, types: dict[str, Any], values: dict[str, Any]) -> dict[str, Array]:
    """The outputs of a node on small constants, or nothing."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    if node.op_type not in _FOLDED or node.domain not in ("", "ai.onnx"):
        return {}
    if node.op_type in ("Shape", "Size"):
        sizes = known_shape(types.get(node.input[0]))
        if sizes is None:
            return {}
        if node.op_type == "Size":
            return {node.output[0]: np.array(np.prod(sizes, dtype=np.int64))}
        at = {a.name: a.i for a in node.attribute}
        cut = sizes[at.get("start", 0) : at.get("end", len(sizes))]
        return {node.output[0]: np.array(cut, dtype=np.int64)}
    if not all(name in values for name in node.input if name):
        return {}
    given = {name: onnx.numpy_helper.to_array(values[name]) for name in node.input if name}
    if node.op_type in _MAKES and not _stays_small(node, given):
        return {}
    try:
        made = ReferenceEvaluator(node).run(None, given)
    except Exception:
        return {}
    arrays = {name: np.asarray(array) for name, array in zip(node.output, made, strict=False)}
    return arrays if all(a.size <= _MAX_ELEMENTS for a in arrays.values()) else {}


def _stays_small(node: Any, given: dict[str, Array]) -> bool:
    if node.op_type == "ConstantOfShape":
        return int(np.prod([float(n) for n in given[node.input[0]]])) <= _MAX_ELEMENTS
    if node.op_type == "Expand":
        wanted = [float(n) for n in given[node.input[1]]]
        return float(np.prod(wanted)) * given[node.input[0]].size <= _MAX_ELEMENTS
    if node.op_type == "Range":
        start, stop, step = (float(given[name]) for name in node.input)
        return step != 0 and abs((stop - start) / step) <= _MAX_ELEMENTS
    return bool(np.prod([max(a.size, 1) for a in given.values()], dtype=float) <= 1 << 22)


def _inferred(
    node: Any, types: dict[str, Any], values: dict[str, Any], versions: dict[str, int], ir: int
) -> dict[str, Any]:
    import onnx

    names = [name for name in node.input if name]
    if any(name not in types for name in names):
        return {}
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = onnx.defs.get_schema(node.op_type, versions.get(domain, 1), domain)
        made: dict[str, Any] = onnx.shape_inference.infer_node_outputs(
            schema, node, {name: types[name] for name in names},
            {name: values[name] for name in names if name in values},
            opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in versions.items()],
            ir_version=ir,
        )  # fmt: skip
    except Exception:
        return {}
    return made


def known_shape(given: Any) -> tuple[int, ...] | None:
    """The sizes of a TypeProto, or None where one of them is not known."""
    if given is None or not given.tensor_type.HasField("shape"):
        return None
    dims = given.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)
