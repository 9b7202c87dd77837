"""Do ONNX graphs give the products that their shapes imply, and are bad ones refused?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from codesign.config import CodesignError  # noqa: E402
from codesign.trace.extract import extract, extract_with_weights  # noqa: E402
from codesign.trace.onnx_shapes import _stays_small  # noqa: E402
from codesign.trace.op import Kind, Phase  # noqa: E402
from codesign.trace.sparsify import sparsify, trace_effective_macs  # noqa: E402
from codesign.trace.torch_extract import extract_module  # noqa: E402

F = TensorProto.FLOAT


def save(
    path: Path,
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str]],
    weights: dict[str, Sequence[int]],
    outputs: Sequence[str],
    indices: dict[str, Sequence[int]] | None = None,
) -> str:
    rng = np.random.default_rng(0)
    stored = [
        numpy_helper.from_array(rng.random(shape, np.float32), name)
        for name, shape in weights.items()
    ]
    stored += [
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in (indices or {}).items()
    ]
    graph = helper.make_graph(
        list(nodes), "g",
        [helper.make_tensor_value_info(name, F, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, F, None) for name in outputs], stored,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, str(path))
    return f"onnx:{path}"


def block(path: Path) -> str:
    """Self-attention with an MLP; batch and sequence are free, heads split by shape arithmetic."""
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "two"], ["lead"]),
        node("Concat", ["lead", "split"], ["apart"], axis=0),
        *(
            made
            for part in "qkv"
            for made in (
                node("MatMul", ["x", f"{part}.weight"], [part]),
                node("Reshape", [part, "apart"], [f"{part}4"]),
                node("Transpose", [f"{part}4"], [f"{part}h"],
                     perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]),
            )
        ),
        node("MatMul", ["qh", "kh"], ["scores"]),
        node("Softmax", ["scores"], ["p"], axis=-1),
        node("MatMul", ["p", "vh"], ["y"]),
        node("Transpose", ["y"], ["yt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["yt", "shape"], ["merged"]),
        node("Transpose", ["up.weight"], ["up_turned"], perm=[1, 0]),
        node("MatMul", ["merged", "up_turned"], ["up"]),
        node("Gelu", ["up"], ["gelu"]),
        node("MatMul", ["gelu", "down.weight"], ["down"]),
        node("Add", ["down", "x"], ["out"]),
    ]  # fmt: skip
    weights: dict[str, Sequence[int]] = {f"{part}.weight": [32, 32] for part in "qkv"}
    weights |= {"up.weight": [64, 32], "down.weight": [64, 32]}
    indices = {"zero": [0], "two": [2], "split": [4, 8]}
    return save(path, nodes, {"x": ["batch", "seq", 32]}, weights, ["out"], indices)


def test_a_transformer_block(tmp_path: Path) -> None:
    source = block(tmp_path / "block.onnx")
    trace = extract(source, batch=3, seq=10)
    shapes = [(op.kind, op.m, op.n, op.k, op.groups) for op in trace if op.is_matmul]
    linear, attention = Kind.GEMM, Kind.ATTENTION
    assert shapes == [
        *[(linear, 30, 32, 32, 1)] * 3, (attention, 10, 10, 8, 12), (attention, 10, 8, 10, 12),
        (linear, 30, 64, 32, 1), (linear, 30, 32, 64, 1),
    ]  # fmt: skip
    assert trace.parameter_count == 3 * 1024 + 2 * 2048
    assert set(trace["k"].deps) == set()
    product = next(op for op in trace if op.kind is Kind.ATTENTION)
    assert set(product.deps) == {"q", "k"}
    step = extract(source, phase="training", batch=3, seq=10)
    assert step.macs == 3 * trace.macs - 3 * 30 * 32 * 32
    decode = extract(source, phase="decode", batch=3)
    assert {op.phase for op in decode} == {Phase.DECODE}


def test_weights_come_in_the_layout_of_linear_layers(tmp_path: Path) -> None:
    trace, weights = extract_with_weights(block(tmp_path / "b.onnx"), batch=1, seq=2, real=True)
    assert weights["up.weight"].shape == (64, 32)
    assert weights["down.weight"].shape == (32, 64)
    sparse = sparsify(trace, "2:4", weights=weights, skip_first_last=False)
    assert len(sparse.masks) == 5
    assert trace_effective_macs(sparse) < trace.macs


def test_convolutions_gemm_and_folded_constants(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "c.weight", "c.bias"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "d.weight"], ["e"], group=8, auto_pad="SAME_UPPER"),
        node("GlobalAveragePool", ["e"], ["f"]),
        node("Flatten", ["f"], ["g"]),
        node("Gemm", ["g", "fc.weight", "fc.bias"], ["out"], transB=1),
    ]
    weights = {"c.weight": [8, 3, 3, 3], "c.bias": [8], "d.weight": [8, 1, 3, 3],
               "fc.weight": [10, 8], "fc.bias": [10]}  # fmt: skip
    source = save(tmp_path / "cnn.onnx", nodes, {"x": [2, 3, 9, 9]}, weights, ["out"])
    first, depthwise, last = (op for op in extract(source) if op.is_matmul)
    assert first.conv is not None
    assert (first.m, first.n, first.k, first.conv.out_h) == (2 * 25, 8, 27, 5)
    assert (depthwise.groups, depthwise.m, depthwise.n, depthwise.k) == (8, 50, 1, 9)
    assert (last.m, last.n, last.k) == (2, 10, 8)
    trace, found = extract_with_weights(source, real=True)
    assert trace.parameter_count == 216 + 8 + 72 + 80 + 10
    assert found["fc.weight"].shape == (10, 8)


def exported(path: Path, kind: str, size: Sequence[int], weight: Sequence[int], **at: Any) -> str:
    """One convolution, and the module of torch that it is."""
    nodes = [helper.make_node(kind, ["x", "c.weight", "c.bias"], ["out"], **at)]
    outputs = weight[1] * at.get("group", 1) if kind == "ConvTranspose" else weight[0]
    return save(path, nodes, {"x": size}, {"c.weight": weight, "c.bias": [outputs]}, ["out"])


@pytest.mark.parametrize(
    ("kind", "size", "weight", "at", "module"),
    [
        (
            "Conv", [2, 4, 11, 13], [6, 2, 3, 3],
            {"dilations": [2, 3], "pads": [2, 3, 2, 3], "group": 2, "strides": [1, 2]},
            nn.Conv2d(4, 6, 3, (1, 2), (2, 3), (2, 3), groups=2),
        ),
        (
            "Conv", [1, 4, 5, 8, 8], [6, 4, 3, 3, 3], {"pads": [1] * 6, "strides": [1, 2, 2]},
            nn.Conv3d(4, 6, 3, (1, 2, 2), 1),
        ),
        ("Conv", [1, 4, 30], [8, 4, 2], {"dilations": [8]}, nn.Conv1d(4, 8, 2, dilation=8)),
        (
            "ConvTranspose", [2, 4, 6, 7], [4, 3, 4, 4],
            {"strides": [2, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 0], "group": 2},
            nn.ConvTranspose2d(4, 6, 4, (2, 3), 1, (1, 0), groups=2),
        ),
        ("ConvTranspose", [1, 4, 9], [4, 3, 8], {"strides": [4], "pads": [2, 2]},
         nn.ConvTranspose1d(4, 3, 8, 4, 2)),
        ("ConvTranspose", [1, 4, 3, 4, 4], [4, 2, 2, 2, 2], {"strides": [2, 2, 2]},
         nn.ConvTranspose3d(4, 2, 2, 2)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("phase", ["inference", "training"])
def test_windows_are_those_of_torch(
    tmp_path: Path, kind: str, size: list[int], weight: list[int], at: dict[str, Any],
    module: nn.Module, phase: str,
) -> None:  # fmt: skip
    source = exported(tmp_path / "c.onnx", kind, size, weight, **at)
    trace, weights = extract_with_weights(source, phase=phase, real=True)
    found = next(op for op in trace if op.is_matmul)
    made, theirs = extract_module(module, ((torch.ones(size),), {}), name="c", phase=phase)
    layer = next(op for op in made if op.is_matmul)
    assert (found.conv, found.m, found.n, found.k) == (layer.conv, layer.m, layer.n, layer.k)
    assert trace.macs == made.macs
    assert trace.parameter_count == made.parameter_count
    if phase == "inference":
        assert weights["c.weight"].shape == theirs["weight"].shape


@pytest.mark.parametrize(
    ("kind", "at", "before", "out"),
    [
        ("Conv", {"auto_pad": "SAME_UPPER", "dilations": [2, 2], "strides": [2, 2]}, 1, 4),
        ("Conv", {"auto_pad": "SAME_LOWER", "dilations": [2, 2], "strides": [2, 2]}, 2, 4),
        ("Conv", {"auto_pad": "VALID", "dilations": [2, 2]}, 0, 4),
        ("ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 2, 16),
        ("ConvTranspose", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, 1, 16),
        ("ConvTranspose", {"output_shape": [16, 16], "strides": [2, 2]}, 1, 16),
    ],
)
def test_automatic_padding(
    tmp_path: Path, kind: str, at: dict[str, Any], before: int, out: int
) -> None:
    """Windows of 3: padding before the first position, of the convolution that is computed."""
    source = exported(tmp_path / "c.onnx", kind, [1, 2, 8, 8], [2, 2, 3, 3], **at)
    conv = next(op.conv for op in extract(source) if op.is_matmul)
    assert conv is not None
    assert (conv.padding_h, conv.padding_w, conv.out_h, conv.out_w) == (before, before, out, out)


@pytest.mark.parametrize(("mode", "function"), [("linear", "interpolate"), ("nearest", "enlarge")])
def test_enlarged_maps(tmp_path: Path, mode: str, function: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["a"]),
        helper.make_node("Resize", ["a", "", "", "sizes"], ["out"], mode=mode),
    ]
    sizes = {"sizes": [1, 2, 16, 16]}
    source = save(
        tmp_path / "r.onnx", nodes, {"x": [1, 2, 4, 4]}, {"c.weight": [2, 2, 1, 1]}, ["out"], sizes
    )
    resize = next(op for op in extract(source) if not op.is_matmul)
    assert (resize.function, resize.reads, resize.writes) == (function, 32, 512)
    step = extract(source, phase="training")
    back = next(op for op in step if op.function == f"{function}.gradient")
    assert (back.reads, back.writes) == (512, 32)


def test_quantised_products(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["out"])]
    path = tmp_path / "int8.onnx"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, [4, 8])],
        [helper.make_tensor_value_info("out", TensorProto.INT32, None)],
        [numpy_helper.from_array(np.ones((8, 6), np.int8), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    (op,) = extract(f"onnx:{path}")
    assert (op.m, op.n, op.k, op.a_dtype, op.b_dtype) == (4, 6, 8, "int8", "int8")


def one(path: Path, op: str, shape: Sequence[int | str], domain: str = "", **given: Any) -> str:
    node = helper.make_node(op, ["x", "w"], ["out"], domain=domain, **given)
    return save(path, [node], {"x": shape}, {"w": [8, 8]}, ["out"])


@pytest.mark.parametrize(
    ("op", "shape", "domain", "message"),
    [
        ("MatMul", ["batch", "width"], "", "its name says neither"),
        ("MatMul", ["batch", "seq", 8], "", "give seq"),
        ("MatMul", [1, "past_len", 8], "", "give a context"),
        ("Einsum", [8, 8], "", "Einsum is not known here"),
        ("Loop", [8, 8], "", "Loop is not known here"),
        ("QuickGelu", [8, 8], "com.other", "com.other.QuickGelu is no standard operator"),
        ("MatMul", [4, 7], "", "do not fit"),
    ],
)
def test_graphs_that_cannot_be_traced(
    tmp_path: Path, op: str, shape: Sequence[int | str], domain: str, message: str
) -> None:
    with pytest.raises(CodesignError, match=message):
        extract(one(tmp_path / "m.onnx", op, shape, domain))


def test_a_shape_that_is_missing_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"]),
        helper.make_node("Cast", ["where"], ["f"], to=F),
        helper.make_node("MatMul", ["f", "w"], ["out"]),
    ]
    source = save(tmp_path / "m.onnx", nodes, {"x": [4, 4]}, {"w": [4, 4]}, ["out"])
    with pytest.raises(CodesignError, match="MatMul 'out': the shape of 'f' is missing"):
        extract(source)


def test_constants_that_explode_are_not_evaluated(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["c"]),
        helper.make_node("MatMul", ["x", "w"], ["out"]),
    ]
    indices = {"huge": [1 << 40, 1 << 20]}
    source = save(tmp_path / "m.onnx", nodes, {"x": [4, 4]}, {"w": [4, 4]}, ["out"], indices)
    assert extract(source).macs == 64
    assert not _stays_small(nodes[0], {"huge": np.array([1 << 40, 1 << 20])})
    wide = helper.make_node("Expand", ["a", "to"], ["b"])
    assert not _stays_small(wide, {"a": np.zeros(2), "to": np.array([4096, 2])})
    steps = helper.make_node("Range", ["from", "to", "by"], ["b"])
    assert not _stays_small(steps, {"from": np.array(0), "to": np.array(1e9), "by": np.array(1)})


@pytest.mark.parametrize("content", [b"", b"garbage that is no protobuf", b"\x08\x07"])
def test_files_that_are_no_graphs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(CodesignError, match=r"no ONNX file|no operators"):
        extract(f"onnx:{path}")
    with pytest.raises(CodesignError, match="No such file"):
        extract(f"onnx:{tmp_path / 'missing.onnx'}")


def test_a_graph_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    block(path)
    whole = path.read_bytes()
    for kept in (20, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:kept])
        with pytest.raises(CodesignError):
            extract(f"onnx:{path}", seq=4)
