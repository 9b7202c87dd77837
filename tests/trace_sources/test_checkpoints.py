"""Are the zeros of a checkpoint counted, classified and put into traces, and damage refused?"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.checkpoint import count_nonzeros, load_checkpoint, survey
from codesign.trace.extract import extract, extract_with_weights
from codesign.trace.real_masks import pattern_of
from codesign.trace.tensor_file import read_tensors, save_masks

CODES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.int8: "I8",
    torch.uint8: "U8", torch.int64: "I64", torch.int32: "I32",
}  # fmt: skip


def write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A safetensors file by its definition: header length, JSON header, tensors."""
    header, blob = {}, b""
    for name, tensor in tensors.items():
        data = tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        offsets = [len(blob), len(blob) + len(data)]
        header[name] = {
            "dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets,
        }  # fmt: skip
        blob += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)
    return path


def pruned(rows: int, cols: int, pattern: str, seed: int = 0) -> torch.Tensor:
    mask = parse_pattern(pattern).sample(rows, cols, seed).to_dense()
    return (torch.rand(rows, cols) + 0.5) * torch.from_numpy(mask)


@pytest.mark.parametrize("dtype", list(CODES)[:7])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_zeros_are_counted_in_every_type(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    weight = pruned(16, 24, "unstructured(0.5)")
    weight[0, :4] = torch.tensor([-0.0, 0.0, -1.0, 2.0])
    stored = weight.to(dtype)
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({"a.weight": stored, "step": 3}, path)
    else:
        write(path, {"a.weight": stored, "a.bias": torch.zeros(16)})
    (facts,) = survey(path)
    expected = int((stored.float() != 0).sum())
    assert (facts.nonzeros, facts.elements, facts.nan) == (expected, 384, 0)
    assert count_nonzeros(path) == {"a.weight": (expected, 384)}


@pytest.mark.parametrize("dtype", list(CODES)[:6])
def test_nan_is_told_from_infinity(tmp_path: Path, dtype: torch.dtype) -> None:
    weight = torch.ones(4, 8)
    weight[1, 2] = float("nan")
    weight[2] = 0
    weight[0, 0] = 448 if dtype == torch.float8_e4m3fn else float("inf")
    path = write(tmp_path / "model.safetensors", {"a.weight": weight.to(dtype)})
    (facts,) = survey(path)
    assert (facts.nan, facts.nonzeros) == (1, 24)
    with pytest.raises(CodesignError, match=r"a.weight: 1 weights are NaN"):
        extract(f"checkpoint:{path}")


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "2:8", "4:8", "4:16", "unstructured(0.75)"])
def test_the_pattern_is_found_again(pattern: str) -> None:
    mask = parse_pattern(pattern).sample(64, 256, 3)
    assert str(pattern_of(mask)) == pattern
    assert pattern_of(Mask.full(8, 8)).is_dense


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_masks_come_back_from_a_file(rows: int, cols: int, seed: int) -> None:
    import tempfile

    kept = np.random.default_rng(seed).random((rows, cols)) < 0.5
    masks = {"x.weight": Mask.from_dense(kept), "y": Mask.from_dense(~kept)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "masks.safetensors"
        save_masks(path, {n: m.shape for n, m in masks.items()}, iter(masks.items()))
        assert count_nonzeros(path) == {n: (m.nnz, m.size) for n, m in masks.items()}
        from codesign.trace.checkpoint_files import open_checkpoint

        for source in open_checkpoint(path):
            assert source.mask() == (masks[source.name], 0)


def test_bitmasks_of_compressed_tensors_are_read(tmp_path: Path) -> None:
    weight = pruned(16, 24, "2:4")
    bits = np.packbits(weight.numpy() != 0, axis=1, bitorder="little")
    path = write(
        tmp_path / "model.safetensors",
        {
            "a.weight.compressed": weight[weight != 0],
            "a.weight.bitmask": torch.from_numpy(bits),
            "a.weight.shape": torch.tensor([16, 24]),
        },
    )
    (facts,) = survey(path)
    assert (facts.name, facts.shape, str(facts.pattern)) == ("a.weight", (16, 24), "2:4")
    trace = extract(f"checkpoint:{path}", seq=5)
    assert [(op.name, op.m, op.n, op.k) for op in trace] == [("a", 5, 16, 24)]
    with pytest.raises(CodesignError, match="only its mask is stored"):
        extract_with_weights(f"checkpoint:{path}", real=True)


def packed(codes: np.ndarray, bits: int) -> torch.Tensor:
    """Codes of rows side by side in words of 32 bits, the first in the lowest bits."""
    per_word = 32 // bits
    filled = np.zeros((len(codes), -(-codes.shape[1] // per_word) * per_word), np.int64)
    filled[:, : codes.shape[1]] = codes
    words = filled.reshape(len(codes), -1, per_word) << (np.arange(per_word) * bits)
    return torch.from_numpy(words.sum(-1).astype(np.uint32).view(np.int32))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_packed_integers_of_compressed_tensors_are_read(
    tmp_path: Path, bits: int, zeros: bool
) -> None:
    rows, cols, group = 24, 36, 12
    rng = np.random.default_rng(bits)
    half = 1 << (bits - 1)
    zero = rng.integers(-2, 3, (rows, cols // group)) * zeros
    kept = parse_pattern("2:4").sample(rows, cols, 1).to_dense()
    steps = np.where(kept, rng.choice([-3, -1, 2, 4], (rows, cols)), 0)
    codes = steps + np.repeat(zero, group, axis=1) + half
    scale = rng.random((rows, cols // group)).astype(np.float32) + 0.5
    parts = {
        "a.weight_packed": packed(codes, bits),
        "a.weight_scale": torch.from_numpy(scale),
        "a.weight_shape": torch.tensor([rows, cols]),
    }
    if zeros:
        parts["a.weight_zero_point"] = packed((zero + half).T, bits).T.contiguous()
    path = write(tmp_path / "model.safetensors", parts)
    (facts,) = survey(path)
    assert (facts.name, facts.shape, str(facts.pattern)) == ("a.weight", (rows, cols), "2:4")
    trace, weights = extract_with_weights(f"checkpoint:{path}", real=True, seq=5)
    assert [(op.name, op.m, op.n, op.k) for op in trace] == [("a", 5, rows, cols)]
    np.testing.assert_array_equal(trace.masks["a"].to_dense(), kept)
    expected = steps * np.repeat(scale, group, axis=1)
    np.testing.assert_allclose(weights["a.weight"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a.weight_shape": None}, "a.weight_shape beside it"),
        ({"a.weight_shape": torch.tensor([4, -16])}, "not of 4 bits or 8"),
        ({"a.weight_shape": torch.tensor([4, 99])}, "not of 4 bits or 8"),
        ({"a.weight_packed": torch.zeros(4, 8, dtype=torch.uint8)}, "words of 32 bits"),
        ({"a.weight_zero_point": torch.ones(4, 2, dtype=torch.int8)}, "not packed"),
        ({"a.weight_zero_point": torch.ones(1, 3, dtype=torch.int32)}, "do not divide"),
    ],
)
def test_integers_packed_otherwise_are_refused(
    tmp_path: Path, changed: dict[str, torch.Tensor | None], message: str
) -> None:
    parts: dict[str, torch.Tensor | None] = {
        "a.weight_packed": torch.zeros(4, 2, dtype=torch.int32),
        "a.weight_shape": torch.tensor([4, 16]),
        **changed,
    }
    stored = {name: tensor for name, tensor in parts.items() if tensor is not None}
    path = write(tmp_path / "model.safetensors", stored)
    with pytest.raises(CodesignError, match=message):
        list(survey(path))


@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructured")
def test_what_only_a_library_can_unpack_is_refused(tmp_path: Path) -> None:
    from torch.sparse import SparseSemiStructuredTensorCUSPARSELT

    stored = SparseSemiStructuredTensorCUSPARSELT(
        torch.Size((64, 128)), packed=torch.zeros(64, 72).half(), meta=None, packed_t=None,
        meta_t=None, compressed_swizzled_bitmask=None,
    )  # fmt: skip
    path = tmp_path / "model.pt"
    torch.save({"a.weight": stored}, path)
    with pytest.raises(CodesignError, match="known to its library alone; save what its to_dense"):
        extract(f"checkpoint:{path}")


def test_small_files_of_huge_tensors_are_refused(tmp_path: Path) -> None:
    edge = 1 << 17
    torch.save({"a.weight": torch.zeros(1).expand(edge, edge)}, tmp_path / "expanded.pt")
    with torch.sparse.check_sparse_tensor_invariants(False):
        one = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (edge, edge))
    torch.save({"a.weight": one}, tmp_path / "sparse.pt")
    with pytest.raises(CodesignError, match="share their storage"):
        list(survey(tmp_path / "expanded.pt"))
    with pytest.raises(CodesignError, match=r"unpacked up to 1,073,741,824 elements"):
        list(survey(tmp_path / "sparse.pt"))


@pytest.mark.filterwarnings("error")
def test_a_pickle_that_is_no_torch_file_is_refused_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": Path("x")}, protocol=4))
    with pytest.raises(CodesignError, match="it holds more than tensors; nothing of it was"):
        list(survey(tmp_path / "a.pt"))


def test_sparse_tensors_of_torch_are_read(tmp_path: Path) -> None:
    weight = pruned(16, 24, "unstructured(0.9)")
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {"a.weight": weight.to_sparse(), "b.weight": weight}}, path)
    assert {f.nonzeros for f in survey(path)} == {int((weight != 0).sum())}


@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructured")
def test_semi_structured_tensors_of_torch_are_read(tmp_path: Path) -> None:
    from torch.sparse import SparseSemiStructuredTensorCUTLASS
    from torch.sparse._semi_structured_conversions import (
        sparse_semi_structured_from_dense_cutlass,
    )

    weight = pruned(64, 128, "2:4").half()
    packed, meta = sparse_semi_structured_from_dense_cutlass(weight)
    stored = SparseSemiStructuredTensorCUTLASS(
        weight.shape, packed=packed, meta=meta, packed_t=None, meta_t=None,
        compressed_swizzled_bitmask=None,
    )  # fmt: skip
    path = tmp_path / "model.pt"
    torch.save({"a.weight": stored}, path)
    trace = extract(f"checkpoint:{path}")
    assert str(trace["a"].b_pattern) == "2:4"
    np.testing.assert_array_equal(trace.masks["a"].to_dense(), weight.numpy() != 0)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "resnet"])
def test_a_model_gets_the_masks_of_its_weights(tmp_path: Path, name: str) -> None:
    """Linear layers stored either way round, convolutions, names with the model's in front."""
    small: dict[str, dict[str, Any]] = {
        "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                  "num_attention_heads": 2, "vocab_size": 64},
        "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 64, "n_positions": 16},
        "bert": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
                 "num_attention_heads": 2, "vocab_size": 64, "max_position_embeddings": 32},
        "resnet": {"depths": [1, 1], "hidden_sizes": [32, 64], "embedding_size": 8,
                   "num_labels": 8},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"model_type": name, **small[name]}))
    dense = extract(f"hf:{tmp_path}")
    tensors: dict[str, torch.Tensor] = {}
    for op in dense:
        if op.is_matmul and op.weight is not None and op.weight not in tensors:
            weight = pruned(op.groups * op.n, op.k, "2:4", len(tensors))
            if op.k % 4:
                weight = torch.ones(op.n, op.k)
            if op.conv is not None:
                kernel = (op.conv.kernel_h, op.conv.kernel_w, op.conv.in_channels)
                weight = weight.reshape(-1, *kernel).permute(0, 3, 1, 2)
            elif name == "gpt2" and "wte" not in op.weight:
                weight = weight.T
            prefix = "bert." if name == "bert" else ""
            tensors[prefix + op.weight] = weight.contiguous()
    write(tmp_path / "model.safetensors", tensors)
    trace, weights = extract_with_weights(f"checkpoint:{tmp_path}", real=True)
    for op in trace:
        if op.is_matmul and op.weight is not None and op.k % 4 == 0:
            assert str(op.b_pattern) == "2:4"
            stored = np.asarray(weights[op.weight])
            matrix = stored.transpose(0, 2, 3, 1) if stored.ndim == 4 else stored
            np.testing.assert_array_equal(
                trace.masks[op.name].to_dense(), matrix.reshape(-1, op.k) != 0
            )
    assert "products_without_weights" not in trace.meta


MIXTURES = {
    "mixtral": ({"num_local_experts": 4, "num_experts_per_tok": 2},
                "block_sparse_moe", ("w1", "w3", "w2")),
    "qwen3_moe": ({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48,
                   "head_dim": 16}, "mlp", ("gate_proj", "up_proj", "down_proj")),
    "stacked": ({"num_local_experts": 4, "num_experts_per_tok": 2}, "mlp", ()),
}  # fmt: skip


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("name", list(MIXTURES))
def test_experts_are_found_one_by_one_or_stacked(tmp_path: Path, name: str, phase: str) -> None:
    sizes, module, parts = MIXTURES[name]
    own = {
        "model_type": "mixtral" if name == "stacked" else name, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, **sizes,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(own))
    gate, up = (torch.stack([pruned(48, 32, "2:4", 2 * i + j) for i in range(4)]) for j in (0, 1))
    down = torch.stack([pruned(32, 48, "1:4", 20 + i) for i in range(4)])
    tensors = {f"model.layers.0.{module}.gate.weight": torch.ones(4, 32)}
    at = f"model.layers.0.{module}.experts"
    if parts:
        for i in range(4):
            for part, stack in zip(parts, (gate, up, down), strict=True):
                tensors[f"{at}.{i}.{part}.weight"] = stack[i]
    else:
        tensors[f"{at}.gate_up_proj"] = torch.cat([gate, up], dim=1)
        tensors[f"{at}.down_proj"] = down
    write(tmp_path / "model.safetensors", tensors)
    size = {"seq": 8} if phase == "prefill" else {"context": 8}
    trace, weights = extract_with_weights(f"checkpoint:{tmp_path}", phase=phase, real=True, **size)
    experts = [op for op in trace if op.is_matmul and "experts" in op.name]
    assert [str(op.b_pattern) for op in experts] == ["2:4", "1:4"]
    used = experts[0].groups
    assert used == (4 if phase == "prefill" else 2)
    both = torch.cat([gate, up], dim=1)[:used].numpy()
    np.testing.assert_array_equal(weights[str(experts[0].weight)], both)
    kept = trace.masks[experts[0].name].to_dense()
    np.testing.assert_array_equal(kept, both.reshape(-1, 32) != 0)
    np.testing.assert_array_equal(weights[str(experts[1].weight)], down[:used].numpy())
    assert trace.meta["products_without_weights"] == 5


def test_experts_that_are_incomplete_are_named(tmp_path: Path) -> None:
    own = {
        "model_type": "mixtral", "hidden_size": 32, "intermediate_size": 48, "vocab_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
        "num_local_experts": 2, "num_experts_per_tok": 2,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(own))
    at = "model.layers.0.block_sparse_moe.experts"
    tensors = {f"{at}.{i}.w1.weight": torch.ones(48, 32) for i in range(2)}
    write(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CodesignError, match=r"experts.0.w3.weight is missing"):
        extract(f"checkpoint:{tmp_path}", phase="prefill", seq=4)
    tensors |= {f"{at}.0.w3.weight": torch.ones(48, 32), f"{at}.1.w3.weight": torch.ones(4, 4)}
    write(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CodesignError, match=r"1.w3.weight: shape \(4, 4\), other experts have"):
        extract(f"checkpoint:{tmp_path}", phase="prefill", seq=4)


def test_files_of_an_index_are_read_together(tmp_path: Path) -> None:
    write(tmp_path / "one.safetensors", {"a.weight": torch.ones(8, 8)})
    write(tmp_path / "two.safetensors", {"b.weight": torch.eye(8)})
    index = tmp_path / "model.safetensors.index.json"
    names = {"a.weight": "one.safetensors", "b.weight": "two.safetensors"}
    index.write_text(json.dumps({"weight_map": names}))
    assert count_nonzeros(tmp_path) == {"a.weight": (64, 64), "b.weight": (8, 64)}
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(CodesignError, match="no file beside the index"):
        count_nonzeros(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "three.safetensors"}}))
    with pytest.raises(CodesignError, match="is missing"):
        count_nonzeros(index)


class _Code:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return (open, ("executed.txt", "w"))


def test_code_in_a_checkpoint_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a.weight": _Code()}, tmp_path / "model.pt")
    with pytest.raises(CodesignError, match=r"more than tensors.*nothing of it was executed"):
        extract("checkpoint:model.pt")
    assert not (tmp_path / "executed.txt").exists()


def broken(path: Path, header: object, body: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "no JSON text"),
        (b"[" * 5000, "no JSON text"),
        ([1], "no object"),
        ({"a": 1}, "has dtype, shape and data_offsets"),
        ({"a": {**ENTRY, "dtype": "F5"}}, "no data type 'F5'"),
        ({"a": {**ENTRY, "shape": [2, -2]}}, "whole numbers"),
        ({"a": {**ENTRY, "shape": [1 << 40, 1 << 40]}}, "are not the bytes of"),
        ({"a": {**ENTRY, "data_offsets": [0, 12]}}, "are not the bytes of"),
        ({"a": ENTRY, "b": ENTRY}, "overlaps another tensor"),
        ({"a": {**ENTRY, "data_offsets": [8, 24]}}, "cut short"),
        (
            {"a.bitmask": {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}},
            "states the shape",
        ),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, header: object, message: str) -> None:
    path = broken(tmp_path / "model.safetensors", header, bytes(16))
    with pytest.raises(CodesignError, match=message):
        extract(f"checkpoint:{path}")


@pytest.mark.parametrize("kept", [0, 7, 40, 200, 1000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_files_that_are_cut_short_are_refused(tmp_path: Path, kept: int, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({"a.weight": torch.ones(64, 64)}, path)
    else:
        write(path, {"a.weight": torch.ones(64, 64)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CodesignError, match="cut short"):
        extract(f"checkpoint:{path}")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_checkpoint_or_an_error(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        with pytest.raises(CodesignError):
            read_tensors(path) and extract(f"checkpoint:{path}")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("missing.safetensors", {}, "no such file"),
        ("model.txt", {}, "ends in .safetensors"),
        ("empty", {}, "no checkpoint is in this folder"),
        ("model.safetensors", {"phase": "training"}, "sparsify the weights"),
        ("model.safetensors", {"phase": "decode"}, "without a config.json"),
        ("integers.safetensors", {}, "no tensor in it is a matrix"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    write(tmp_path / "model.safetensors", {"a.weight": torch.ones(4, 4)})
    write(tmp_path / "integers.safetensors", {"a.weight": torch.ones(4, 4, dtype=torch.int64)})
    (tmp_path / "model.txt").write_text("a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CodesignError, match=message):
        load_checkpoint(tmp_path / name, **options)
