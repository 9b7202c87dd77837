"""Do extract and workload show write, read and draw what they say?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from codesign.cli import main
from codesign.config import CodesignError
from codesign.report.trace_graph import trace_graph
from codesign.trace.io import load_trace
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.totals import intensity_flop_per_byte, traffic
from codesign.trace.workload import load_workload
from tests.trace_sources.sources import CONFIGS, moved_bytes

GPT2 = f"hf:{CONFIGS / 'gpt2.json'}"


def run(*arguments: str) -> None:
    assert main(list(arguments)) == 0


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ([GPT2, "--seq", "16"], ("seq", 16)),
        (["gpt2", "--chunk", "8", "--seq", "16"], ("chunk", 8)),
        ([GPT2, "--steps", "9", "--context", "4", "--samples", "2"], ("steps", 9)),
        ([GPT2, "--draft", "3", "--context", "4"], ("draft", 3)),
        (["gpt2", "--lora-rank", "4", "--seq", "8"], ("adapter_rank", 4)),
        ([GPT2, "--tensor-parallel", "2", "--seq", "8"], ("tensor_parallel", 2)),
        (["gpt2", "--seq", "8", "--phase", "training", "--recompute", "*"], ("recomputed", "*")),
        (["gpt2", "--seq", "8", "--weights-dtype", "int4"], ("dtype.weights", "int4")),
    ],
)
def test_a_recipe_is_written_and_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    fact: tuple[str, object],
) -> None:
    path = tmp_path / "trace.json"
    run("extract", *arguments, "-o", str(path), "--json")
    said = json.loads(capsys.readouterr().out)
    trace = load_trace(path)
    assert trace.meta[fact[0]] == fact[1]
    assert (said["macs"], said["ops"], said["parameters"]) == (
        trace.macs, len(trace), trace.parameter_count,
    )  # fmt: skip
    run("workload", "show", str(path), "--json")
    shown = json.loads(capsys.readouterr().out)
    assert {"parameters", "macs", "bytes", "ops", "flop_per_byte"} <= set(shown)
    assert (shown["macs"], len(shown["ops"])) == (trace.macs, len(trace))
    assert shown["bytes"] == said["bytes"] == traffic(trace).total == moved_bytes(trace)


def test_other_verbs_read_sources(capsys: pytest.CaptureFixture[str]) -> None:
    run("workload", "show", GPT2, "--phase", "decode", "--context", "10")
    text = capsys.readouterr().out
    assert "124,439,808 parameters" in text
    assert "FLOP/B" in text


def test_intensity_by_hand() -> None:
    trace = load_workload("gemm:4,8,16", dtype="int8")
    assert traffic(trace).weights == 128
    assert traffic(trace).total == 4 * 16 + 8 * 16 + 4 * 8
    assert intensity_flop_per_byte(trace) == 2 * 512 / 224
    assert intensity_flop_per_byte(Trace("empty", ())) == 0


def test_the_graph_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "graph.svg"
    run("workload", "show", "gpt2", "--phase", "training", "--svg", str(path))
    root = ElementTree.parse(path).getroot()
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "layers.0.attention.scores" in texts
    assert not any(text.startswith("layers.1.") for text in texts)
    assert any("12 layers" in text for text in texts)
    boxes = [
        tuple(int(box.attrib[key]) for key in ("x", "y"))
        for box in root.iter("{http://www.w3.org/2000/svg}rect")
        if "x" in box.attrib
    ]
    assert len(boxes) == len(set(boxes))
    assert not re.search(r"https?://(?!www\.w3\.org)", path.read_text())


def test_layers_that_differ_are_drawn_each() -> None:
    text = trace_graph(load_workload("resnet18"))
    assert all(f"layer{i}.0.conv1" in text for i in (1, 2, 3, 4))
    ops = tuple(
        Op(name=f"op{i}", kind=Kind.GEMM, phase=Phase.FORWARD, m=1, n=1, k=1) for i in range(2001)
    )
    with pytest.raises(CodesignError, match="2001 operators are too many to draw"):
        trace_graph(Trace("many", ops))


def test_long_names_fit_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    mixtral = CONFIGS / "mixtral_8x7b.json"
    assert main(["workload", "show", f"hf:{mixtral}", "--phase", "decode"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "model.layers.0-31" in lines
    assert sum("  mlp.experts.0-1.gate_up  " in line for line in lines) == 1
