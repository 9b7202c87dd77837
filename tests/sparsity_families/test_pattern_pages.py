"""Does docs/patterns say what the patterns and the machines do?"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from codesign.cli import root
from codesign.config import CodesignError
from codesign.report.pattern_pages import catalogue, texts
from codesign.sparsity.pattern import parse_pattern
from codesign.trace.transform import CHANGES, make_sparse
from codesign.trace.workload import load_workload

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "patterns"


def test_the_pages_are_fresh():
    made = texts()
    assert {path.name for path in FOLDER.glob("*.md")} == set(made)
    for name, text in made.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, name


def test_every_change_and_every_pattern_has_a_page():
    written = " ".join(text for page in catalogue() for text in page.texts)
    for name in CHANGES:
        assert f"{name}(" in written
    for name in ("2:4@out", "double", "transposable", "nmg", "fan_in", "block", "gqsa", "tiles",
                 "split", "butterfly", "sq", "row", "column", "unstructured", "monarch", "armor",
                 "lowrank", "butterfly_factors"):  # fmt: skip
        assert name in written


SIZES = {"depth": 4, "width": 128, "heads": 4, "mlp_width": 256, "vocabulary": 100}
TEXTS = sorted({text for page in catalogue() for text in page.texts if "FILE" not in text})


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_of_a_page_makes_some_model_sparse(text):
    """One of a prefill, a decode step and a convolutional network takes it."""
    traces = (
        load_workload("gpt2", seq=32, overrides={**SIZES, "positions": 64}),
        load_workload("llama3_8b", phase="decode", context=31, overrides={**SIZES, "kv_heads": 2}),
        load_workload("resnet18", image=32),
    )
    changed = []
    for trace in traces:
        try:
            changed.append(make_sparse(trace, text).fingerprint != trace.fingerprint)
        except CodesignError:
            continue
    assert any(changed) or text == "window(4096)"


@pytest.mark.parametrize("page", catalogue(), ids=lambda page: page.slug)
def test_the_example_of_a_page_parses(page):
    program, verb, *words = shlex.split(page.example)
    assert program == "codesign"
    command = root.get_command(None, verb)
    context = command.make_context(verb, words)
    chosen = context.params.get("sparsities") or (context.params["sparsity"],)
    assert any(text != "dense" for text in chosen)


def test_texts_of_weights_are_patterns_or_forms():
    assert str(parse_pattern(catalogue()[0].texts[0])) == "2:4"
