"""Walks an ONNX graph with known shapes and writes down its operators."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from codesign.config import CodesignError
from codesign.trace.network import attention_ops, conv_op
from codesign.trace.onnx_shapes import known_shape
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.vector_work import function
from codesign.trace.window import Conv, window

Shape = tuple[int, ...]

VIEWS = frozenset(
    {
        "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Split",
        "Shape", "Size", "Constant", "ConstantOfShape", "Range", "Dropout", "Expand", "CastLike",
        "Cast",
    }
)  # fmt: skip
"""Operators that move nothing: their output is another way to look at their input."""

FUNCTIONS = {
    "Relu": "relu", "Clip": "relu6", "LeakyRelu": "relu", "Gelu": "gelu", "Sigmoid": "sigmoid",
    "HardSigmoid": "relu6", "HardSwish": "silu", "Swish": "silu", "Tanh": "tanh", "Erf": "tanh",
    "Exp": "tanh", "Sqrt": "tanh", "Add": "add", "Sub": "add", "Mul": "multiply", "Div": "multiply",
    "Softmax": "softmax", "LogSoftmax": "softmax", "LayerNormalization": "layernorm",
    "GroupNormalization": "layernorm", "InstanceNormalization": "layernorm",
    "RMSNormalization": "rmsnorm", "BatchNormalization": "batchnorm_inference",
    "Gather": "embedding", "MaxPool": "max_pool", "GlobalMaxPool": "max_pool",
    "AveragePool": "mean", "GlobalAveragePool": "mean", "ReduceMean": "mean", "ReduceSum": "sum",
    "ReduceMax": "max_pool", "Concat": "copy", "Pad": "copy", "Tile": "copy",
    "RotaryEmbedding": "rotary", "Resize": "interpolate", "Upsample": "interpolate",
}  # fmt: skip
"""Rows of `trace.vector_work`; any other operator without products is `elementwise`."""

_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1}
_CONVOLUTIONS = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}
_INTEGER = ("MatMulInteger", "QLinearMatMul", "ConvInteger", "QLinearConv")
_HIDDEN = frozenset(
    {
        "LSTM", "GRU", "RNN", "Einsum", "DeformConv", "DFT", "STFT", "If", "Loop",
        "Scan", "SequenceMap",
    }
)  # fmt: skip
_DTYPES = {
    1: "fp32", 2: "int8", 3: "int8", 4: "int16", 5: "int16", 6: "int32", 7: "int32", 9: "bool",
    10: "fp16", 11: "fp64", 12: "int32", 13: "int32", 16: "bf16", 17: "fp8", 18: "fp8", 19: "fp8",
    20: "fp8", 21: "int4", 22: "int4",
}  # fmt: skip
_FLOATS = frozenset({1, 10, 11, 16, 17, 18, 19, 20})


class GraphReader:
    """Collects operators; tensors on which no input has an influence are constants."""

    def __init__(
        self, model: Any, types: Mapping[str, Any], path: str, *, dtype: str | None, phase: Phase
    ) -> None:
        graph = model.graph
        self.path, self.graph, self.dtype, self.phase = path, graph, dtype, phase
        self.ops: list[Op] = []
        self.parameters: dict[str, int] = {}
        self.weight_is_turned: dict[str, bool] = {}
        self.windows: dict[str, Conv] = {}
        """The window of every convolution's weight."""
        self._shapes: dict[str, Shape | None] = {}
        self._types: dict[str, int] = {}
        self._producer: dict[str, tuple[str, ...]] = {}
        self._stored: dict[str, tuple[str, bool]] = {}
        """The initializer behind a constant, and whether it is seen transposed."""
        self._names: dict[str, int] = {}
        for name, given in types.items():
            self._shapes[name] = known_shape(given)
            self._types[name] = given.tensor_type.elem_type
        for tensor in graph.initializer:
            self._shapes[tensor.name] = tuple(tensor.dims)
            self._types[tensor.name] = tensor.data_type
            self._stored[tensor.name] = (tensor.name, False)
        for value in graph.input:
            if value.name not in self._stored:
                self._producer[value.name] = ()

    def run(self) -> None:
        for node in self.graph.node:
            self._node(node)

    def _node(self, node: Any) -> None:
        kind = node.op_type
        live = [name for name in node.input if name in self._producer]
        if kind in _HIDDEN:
            raise self._error(node, f"{kind} is not known here")
        if node.domain not in ("", "ai.onnx") and kind not in FUNCTIONS:
            raise self._error(node, f"{node.domain}.{kind} is no standard operator")
        if not live:
            self._constant(node)
        elif kind in ("Shape", "Size"):
            return
        elif kind in VIEWS:
            deps = self._deps(node.input)
            for name in node.output:
                self._producer[name] = deps
        elif kind in _PRODUCTS:
            self._product(node, node.input[0], node.input[_PRODUCTS[kind]])
        elif kind in _CONVOLUTIONS:
            self._convolution(node, node.input[0], node.input[_CONVOLUTIONS[kind]])
        elif kind == "Attention":
            self._attention(node)
        else:
            self._vector(node, live)

    def _constant(self, node: Any) -> None:
        """Constants stay constants; those that only show a weight otherwise stay that weight."""
        stored = self._stored.get(node.input[0]) if node.input else None
        if stored is None or len(node.output) != 1:
            return
        name, turned = stored
        if node.op_type == "Transpose":
            self._stored[node.output[0]] = (name, not turned)
        elif node.op_type in ("Cast", "Identity", "DequantizeLinear", "QuantizeLinear"):
            self._stored[node.output[0]] = stored

    def _product(self, node: Any, a: str, b: str) -> None:
        left, right = self._shape(node, a), self._shape(node, b)
        attributes = _attributes(node)
        if attributes.get("transA"):
            left = (*left[:-2], left[-1], left[-2])
        turned = bool(attributes.get("transB"))
        if turned:
            right = (*right[:-2], right[-1], right[-2])
        left = (1, *left) if len(left) == 1 else left
        right = (*right, 1) if len(right) == 1 else right
        if a in self._stored and b not in self._stored:
            a, b, left, right = b, a, (*right[:-2], right[-1], right[-2]), (
                *left[:-2], left[-1], left[-2],
            )  # fmt: skip
            turned = not turned
        if left[-1] != right[-2]:
            raise self._error(node, f"{left} times {right} do not fit")
        weight = self._weight(b, stored_turned=not turned)
        groups = prod(right[:-2])
        rows = prod(left[:-1]) // max(groups, 1)
        if len(left) < len(right):
            groups, rows = prod(right[:-2]), left[-2]
        layer = self._layer(node, weight)
        a_type, b_type = self._dtype(node, a), self._dtype(node, b)
        self._add(
            node,
            Op(
                name=self._unique(layer), kind=Kind.ATTENTION if weight is None else Kind.GEMM,
                phase=self.phase, layer=layer, weight=weight, m=rows, n=right[-1], k=left[-1],
                groups=groups, a_dtype=a_type, b_dtype=b_type, c_dtype=a_type,
                deps=self._deps(node.input),
            ),
        )  # fmt: skip
        self._bias(node, layer)

    def _convolution(self, node: Any, x: str, w: str) -> None:
        into, kernel = self._shape(node, x), self._shape(node, w)
        if len(kernel) not in (3, 4, 5):
            raise self._error(node, "convolutions have one to three dimensions")
        at = _attributes(node)
        groups, transposed = at.get("group", 1), node.op_type == "ConvTranspose"
        weight = self._weight(w, stored_turned=False)
        at_node = window(
            into[0], into[2:], (into[1], kernel[1] * groups if transposed else kernel[0]),
            kernel[2:], stride=at.get("strides") or (1,), padding=self._padding(node, into, kernel),
            dilation=at.get("dilations") or (1,), groups=groups, transposed=transposed,
            out=self._shape(node, node.output[0])[2:],
        )  # fmt: skip
        if weight is not None:
            self.windows[weight] = at_node
        layer = self._layer(node, weight)
        op = conv_op(
            layer, at_node, weight=weight, phase=self.phase, deps=self._deps(node.input),
            dtype=self._dtype(node, x), name=self._unique(layer),
        )  # fmt: skip
        self._add(node, op)
        self._bias(node, layer)

    def _padding(self, node: Any, into: Shape, kernel: Shape) -> list[int]:
        """Padding before the first position of each dimension; where it is automatic, half of it.

        What cannot be halved is more at the end, unless at the beginning is asked for.
        """
        at, many = _attributes(node), len(kernel) - 2
        rule = at.get("auto_pad", b"NOTSET")
        if rule not in (b"SAME_UPPER", b"SAME_LOWER") and "output_shape" not in at:
            return list(at.get("pads") or [0] * many)[:many]
        out = self._shape(node, node.output[0])[2:]
        ones, none = [1] * many, [0] * many
        total = []
        for i, o, k, s, d, more in zip(
            into[2:], out, kernel[2:], at.get("strides") or ones, at.get("dilations") or ones,
            at.get("output_padding") or none, strict=True,
        ):  # fmt: skip
            reach = (k - 1) * d + 1
            if node.op_type == "ConvTranspose":
                total.append(max(0, (i - 1) * s + more + reach - o))
            else:
                total.append(max(0, (o - 1) * s + reach - i))
        upper = rule == b"SAME_UPPER"
        return [whole // 2 if upper else whole - whole // 2 for whole in total]

    def _attention(self, node: Any) -> None:
        q, k, v = (self._shape(node, name) for name in node.input[:3])
        if len(q) != 4 or len(k) != 4 or len(v) != 4 or q[1] % k[1]:
            raise self._error(node, "Attention is known for inputs [batch, heads, tokens, width]")
        layer = self._unique(node.name or "attention")
        dtype = self._dtype(node, node.input[0])
        scores, weights, context = attention_ops(
            layer, k[0] * k[1], q[2] * (q[1] // k[1]), q[3], k[2], self._deps(node.input[:2]),
            (f"{layer}.softmax", *self._deps(node.input[2:3])), phase=self.phase, dtype=dtype,
        )  # fmt: skip
        self.ops += [scores, weights]
        self._add(node, context)

    def _vector(self, node: Any, live: list[str]) -> None:
        what = FUNCTIONS.get(node.op_type, "elementwise")
        if what == "gelu" and _attributes(node).get("approximate") == b"tanh":
            what = "gelu_tanh"
        if what == "interpolate" and _attributes(node).get("mode", b"nearest") == b"nearest":
            what = "enlarge"
        if self._types.get(node.output[0], 1) not in _FLOATS | {2, 3}:
            self._producer[node.output[0]] = self._deps(node.input)
            return
        out = self._shape(node, node.output[0])
        table = what == "embedding" and node.input[0] in self._stored
        what = "copy" if what == "embedding" and not table else what
        what = "scale" if what in ("multiply", "add") and len(live) < 2 else what
        row = function(what)
        weight = next(
            (self._weight(name, stored_turned=False) for name in node.input if self._real(name)),
            None,
        )
        for name in node.input:
            if self._real(name):
                self._weight(name, stored_turned=False)
        layer = self._layer(node, weight)
        sizes = [prod(self._shape(node, name)) for name in live]
        written = prod(out)
        reduced = row.kind is Kind.REDUCTION
        elements = max(written, *sizes) if reduced else written
        reads = written if table else sum(sizes) if row.forward.reads else 0
        dtype = self._dtype(node, node.output[0])
        self._add(
            node,
            Op(
                name=self._unique(layer), kind=row.kind, phase=self.phase, layer=layer,
                function=what, weight=weight, elements=elements, passes=row.forward.passes,
                alu_per_element=row.forward.alu, special_per_element=row.forward.special,
                reads=reads, writes=written, b_reads=sizes[0] if table else 0, a_dtype=dtype,
                b_dtype="int32", c_dtype=dtype, deps=self._deps(node.input),
            ),
        )  # fmt: skip

    # --- names, shapes, types ---

    def _add(self, node: Any, op: Op) -> None:
        self.ops.append(op)
        for name in node.output:
            self._producer[name] = (op.name,)

    def _real(self, name: str) -> bool:
        """Whether an input is a tensor of learned numbers."""
        stored = self._stored.get(name)
        if stored is None or self._types.get(stored[0]) not in _FLOATS:
            return False
        return prod(self._shapes[stored[0]] or ()) > 1

    def _weight(self, name: str, *, stored_turned: bool) -> str | None:
        stored = self._stored.get(name)
        if stored is None:
            return None
        tensor, turned = stored
        self.parameters[tensor] = prod(self._shapes[tensor] or ())
        self.weight_is_turned.setdefault(tensor, stored_turned != turned)
        return tensor

    def _bias(self, node: Any, layer: str) -> None:
        """A bias that is part of the product belongs to its layer."""
        for name in node.input[2:3]:
            if self._real(name) and node.op_type in ("Gemm", "Conv", "ConvTranspose"):
                tensor = self._stored[name][0]
                self.parameters.pop(tensor, None)
                self.parameters[f"{layer}.bias"] = prod(self._shapes[tensor] or ())

    def _layer(self, node: Any, weight: str | None) -> str:
        owner = (weight or "").rpartition(".")
        if owner[2] == "weight" and owner[0]:
            return owner[0]
        return str(node.name or node.output[0]).strip("/").replace("/", ".") or node.op_type

    def _unique(self, name: str) -> str:
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _deps(self, names: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(dep for name in names for dep in self._producer.get(name, ())))

    def _shape(self, node: Any, name: str) -> Shape:
        shape = self._shapes.get(name)
        if shape is None:
            raise self._error(node, f"the shape of {name!r} is missing and cannot be inferred")
        return shape

    def _dtype(self, node: Any, name: str) -> str:
        if node.op_type in _INTEGER:
            return "int8"
        elem = self._types.get(name, 1)
        return self.dtype if self.dtype is not None and elem in _FLOATS else _DTYPES.get(
            elem, "fp32"
        )  # fmt: skip

    def _error(self, node: Any, what: str) -> CodesignError:
        return CodesignError(f"{self.path}: {node.op_type} {node.name or node.output[0]!r}: {what}")


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
