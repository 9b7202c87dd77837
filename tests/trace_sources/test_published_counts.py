"""Do configurations give the counts that docs/published_counts.md cites?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codesign.trace.extract import extract
from codesign.trace.hf import load_hf
from codesign.trace.op import Kind
from tests.trace_sources.sources import CONFIGS

VISION = Path(__file__).parents[2] / "examples" / "vision_models.py"
PAGE = Path(__file__).parents[2] / "docs" / "published_counts.md"
ROW = re.compile(
    r"\| (?P<name>\w+) \| (?P<quantity>\w+) \| (?P<figure>[\d.]+)(?: (?P<scale>[MG]))?"
    r"(?: \((?P<percent>[\d.]+) %\))? \| (?P<page>.+) \|"
)
ROWS = [
    match
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and (match := ROW.fullmatch(line))
]


def test_at_least_fifteen_models_are_cited() -> None:
    assert len({row["name"] for row in ROWS}) >= 15
    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    assert len(ROWS) == len(table) - 1
    assert all("https://" in row["page"] or row["page"] == "the same page" for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['name']}-{row['quantity']}")
def test_counts_are_the_published_ones(row: re.Match[str]) -> None:
    ours = measured(CONFIGS / f"{row['name']}.json", row["quantity"])
    scale = {None: 1, "M": 10**6, "G": 10**9}[row["scale"]]
    digits = len(row["figure"].partition(".")[2])
    if row["percent"] is None:
        assert round(ours / scale, digits) == float(row["figure"])
    else:
        published = float(row["figure"]) * scale
        assert abs(ours - published) <= published * float(row["percent"]) / 100


def measured(path: Path, quantity: str) -> int:
    if not path.exists():
        pytest.importorskip("torch")
        module = extract(f"torch:{VISION}:{path.stem}")
        return module.parameter_count if quantity == "parameters" else module.macs
    if quantity == "parameters":
        return load_hf(path).parameter_count
    if quantity == "macs":
        return load_hf(path).macs
    assert quantity == "active"
    step = load_hf(path, phase="decode", context=0)
    tables = [op for op in step if op.kind is Kind.EMBEDDING and op.weight is not None]
    products = sum(op.macs for op in step if op.is_matmul and op.kind is not Kind.ATTENTION)
    return products + sum(step.parameters[str(op.weight)] for op in tables)
