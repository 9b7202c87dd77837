"""Are names, files and `gemm:` texts of users understood, and mistakes in them named?"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.trace.op import Kind, Phase
from codesign.trace.workload import load_workload

VIT = "name: x\nfamily: vit\nwidth: 8\ndepth: 1\nmlp_width: 8\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_gemm_in_inference_and_training() -> None:
    (op,) = load_workload("gemm:64,128,256")
    assert (op.kind, op.m, op.n, op.k, op.weight) == (Kind.GEMM, 64, 128, 256, "weight")
    assert (op.a_bytes, op.b_bytes, op.c_bytes) == (64 * 256 * 2, 256 * 128 * 2, 64 * 128 * 2)
    step = load_workload("gemm:64,128,256", phase="training")
    assert [(op.phase, op.m, op.n, op.k) for op in step] == [
        (Phase.FORWARD, 64, 128, 256),
        (Phase.BACKWARD_DATA, 64, 256, 128),
        (Phase.BACKWARD_WEIGHT, 256, 128, 64),
        (Phase.UPDATE, 0, 0, 0),
    ]
    assert step.parameters == {"weight": 128 * 256}
    assert (
        load_workload(" gemm: 64, 128 ,256 ").fingerprint
        == load_workload("gemm:64,128,256").fingerprint
    )
    assert load_workload("gemm:8,8,8,int8").ops[0].b_bytes == 64
    assert load_workload("gemm:8,8,8", batch=4).ops[0].m == 32


@pytest.mark.parametrize(
    "text",
    ["gemm:", "gemm:1,2", "gemm:1,2,3,fp16,5", "gemm:0,2,3", "gemm:-1,2,3", "gemm:1e3,2,3",
     "gemm:1.0,2,3", "gemm:a,b,c", "gemm:1e30,1,1", f"gemm:{10**40},1,1", "gemm:٣,1,1", "gemm:1,,3",
     "gemm:0x10,1,1", "gemm:1,2,3,fp12", "gemm:2147483648,2147483648,2147483648",
     "gemm:2147483649,1,1"],
)  # fmt: skip
def test_senseless_gemms_are_refused(text: str) -> None:
    with pytest.raises(CodesignError):
        load_workload(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20) | st.text("0123456789,", max_size=8))
def test_any_text_is_a_workload_or_an_error(text: str) -> None:
    for name in (f"gemm:{text}", text):
        try:
            trace = load_workload(name)
        except CodesignError:
            continue
        assert trace.macs == prod(int(size) for size in text.split(",")[:3])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, "did you mean 'resnet50'"),
        ("llama2-7b", {}, "did you mean 'llama2_7b'"),
        ("zzzzzz", {}, "codesign workload list. shows them"),
        ("no/such.yaml", {}, "no such file|No such file"),
        ("resnet50", {"phase": "decode"}, "generates no tokens"),
        ("resnet50", {"seq": 5}, "takes no sequence"),
        ("resnet50", {"phase": "trian"}, "did you mean 'training'"),
        ("resnet50", {"batch": 0}, "batch is a whole number from 1"),
        ("resnet50", {"batch": 1.5}, "batch"),
        ("resnet50", {"batch": True}, "batch"),
        ("resnet50", {"batch": 10**30}, "batch"),
        ("resnet50", {"dtype": "fp17"}, "did you mean 'fp16'"),
        ("resnet50", {"image": 0}, "image"),
        ("gpt2", {"image": 224}, "takes no image size"),
        ("bert_base", {"context": 5}, "prefill and decode"),
        ("bert_base", {"seq": 513}, "512 positions, got 513"),
        ("bert_base", {"batch": "4"}, "batch is a whole number from 1 to 1048576, got '4'"),
        ("gpt2", {"seq": 1025}, "1024 positions"),
        ("gpt2", {"phase": "decode", "context": 1025}, "1024 positions, got 1026"),
        ("gpt2", {"phase": "decode", "seq": 7}, "one token at a time"),
        ("gpt2", {"context": 7}, "prefill and decode"),
        ("llama2_7b", {"seq": -1}, "seq is a whole number"),
        ("gemm:1,2,3", {"image": 3}, "no image size"),
        ("llama2_70b", {"batch": 1 << 20, "seq": 1 << 24}, "64 bits"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        load_workload(name, **options)  # type: ignore[arg-type]


def test_a_file_of_layers(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
name: mine
layers:
  - name: stem
    conv: {in_channels: 3, out_channels: 8, height: 32, width: 16, kernel: 3, stride: 2}
  - {name: body, gemm: [128, 8, 72], count: 3}
  - {name: scores, gemm: [64, 64, 16], groups: 4, weights: false}
""",
    )
    trace = load_workload(path, batch=2)
    assert [op.name for op in trace] == ["stem", "body.0", "body.1", "body.2", "scores"]
    assert [op.kind for op in trace] == [Kind.CONV, Kind.GEMM, Kind.GEMM, Kind.GEMM, Kind.ATTENTION]
    assert trace["stem"].m == 2 * 16 * 8
    assert trace["body.1"].m == 256
    assert (trace["scores"].groups, trace["scores"].m) == (8, 64)
    assert trace.parameters["body.2.weight"] == 8 * 72
    step = load_workload(path, phase="training")
    assert step.macs == 3 * load_workload(path).macs - load_workload(path)["stem"].macs


WINDOWS = """
name: mine
layers:
  - name: wide
    conv: {in_channels: 4, out_channels: 8, height: 9, width: 7, kernel: 3, dilation: 2}
  - name: up
    conv: {in_channels: 8, out_channels: 4, height: 9, width: 7, kernel: 3, stride: 2, padding: 1,
           transposed: true, output_padding: 1}
  - {name: deep, conv: {in_channels: 4, out_channels: 2, depth: 5, height: 6, width: 6, kernel: 3}}
"""


def test_a_file_of_every_kind_of_window(tmp_path: Path) -> None:
    trace = load_workload(written(tmp_path, WINDOWS), batch=2)
    wide, up, deep = (op.conv for op in trace)
    assert wide is not None
    assert up is not None
    assert deep is not None
    assert (wide.out_h, wide.out_w, wide.padding_h, trace["wide"].k) == (9, 7, 2, 36)
    assert (up.out_h, up.out_w, trace["up"].m, trace["up"].n) == (18, 14, 2 * 63, 4)
    assert (deep.out_d, deep.out_h, trace["deep"].m, trace["deep"].k) == (5, 6, 2 * 180, 108)
    assert trace.parameter_count == 9 * 32 + 9 * 32 + 27 * 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("transposed: false", "output_padding belongs to a transposed convolution"),
        ("output_padding: 2", "smaller than the stride or the dilation"),
        ("padding: 12", "padding 12 leaves nothing of the output"),
        ("dilation: 0", "dilation"),
        ("depth: 0", "depth"),
    ],
)
def test_windows_that_cannot_be_are_refused(tmp_path: Path, changed: str, message: str) -> None:
    key = changed.partition(":")[0]
    lines = re.sub(rf", {key}: \w+", "", WINDOWS.replace("\n           transposed", " transposed"))
    text = lines.replace("stride: 2", f"stride: 2, {changed}")
    with pytest.raises(CodesignError, match=message):
        load_workload(written(tmp_path, text))


def test_a_file_of_a_family(tmp_path: Path) -> None:
    text = """
name: tiny
family: decoder
seq: 64
vocabulary: 100
width: 32
depth: 2
heads: 4
kv_heads: 2
mlp_width: 64
activation: swiglu
norm: rmsnorm
bias: false
fused_qkv: false
rotary: true
"""
    trace = load_workload(written(tmp_path, text), phase="decode")
    assert trace.name == "tiny"
    assert trace["layers.1.attention.k"].n == 16
    assert trace.parameter_count == 100 * 32 + 32 + 2 * (32 * (32 + 16 + 16 + 32 + 3 * 64) + 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "the key family is missing"),
        ("name: x\nfamily: resnt\n", r"mine.yaml:2: family: .*did you mean 'resnet'"),
        ("name: x\nfamily: 3\n", "family is one of"),
        ("name: x\nlayers: []\n", "layers"),
        ("name: x\nlayers:\n  - {name: a}\n", "either gemm or conv"),
        ("name: x\nlayers:\n  - {name: a, gemm: [1, 2]}\n", "gemm"),
        ("name: x\nlayers:\n  - {name: a, gemm: [1, 2, 0]}\n", "layers.0.gemm.2"),
        ("name: x\nlayers:\n  - {name: a, gemm: [1, 2, 1e30]}\n", "layers.0.gemm.2"),
        ("name: x\nlayers:\n  - {name: a, gem: [1, 2, 3]}\n", "did you mean 'gemm'"),
        ("name: x\nlayers:\n" + 2 * "  - {name: a, gemm: [1, 1, 1]}\n", "'a'"),
        ("name: x\nfamily: cnn\nimage: 4\nbody:\n  - {max_pool: 8}\n", "body.0: the map"),
        ("name: x\nfamily: cnn\nimage: 4\nbody:\n  - {residual: [4]}\n", "changes the number"),
        (f"{VIT}patch: 5\nheads: 2\n", "multiple of patch"),
        (f"{VIT}patch: 16\nheads: 3\n", "multiple of heads"),
        ("name: x\nfamily: resnet\nblock: basik\nstages: [1]\n", "did you mean 'basic'"),
        ("name: x\nfamily: resnet\nblock: basic\nstages: [1]\nimage: 224.0\n", "image"),
    ],
)  # fmt: skip
def test_mistakes_in_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CodesignError, match=message):
        load_workload(written(tmp_path, text))


def test_a_keyword_that_is_not_there_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(CodesignError, match=r"takes no 'contxt'; did you mean 'context'\?$"):
        load_workload("bert_base", contxt=3)  # type: ignore[arg-type]
    with pytest.raises(CodesignError, match=r"'zz'; it takes phase, batch, .*, overrides$"):
        load_workload("bert_base", zz=3)  # type: ignore[arg-type]
