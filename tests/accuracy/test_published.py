"""Are published figures compared only where that is fair, and offered only where they hold?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.accuracy import published
from codesign.cli import main
from codesign.config import CodesignError
from codesign.sparsity.pattern import parse_pattern

PATTERNS = (
    "dense", "1:2", "2:4", "1:4", "4:8", "2:8", "1:8", "3:4", "6:8", "1:16", "3:6",
    "2:4@out", "transposable(2:4)", "unstructured(0.5)", "unstructured(0.75)", "unstructured(0.9)",
)  # fmt: skip


def test_every_point_has_a_source_a_pattern_and_consistent_figures() -> None:
    found = published.every_point()
    assert len(found) >= 100
    assert len({p.source for p in found}) >= 6
    for point in found:
        assert point.source
        assert str(parse_pattern(point.pattern)) == point.pattern
        if point.sparse is not None and point.dense is not None:
            assert point.change == pytest.approx(point.sparse - point.dense, abs=1e-6)
    keys = [(*p.comparable_with, p.model, p.method, p.pattern) for p in found]
    assert len(set(keys)) == len(keys)


def test_figures_by_hand_of_three_sources() -> None:
    (wanda,) = published.points(model="LLaMA-2-7B", method="wanda", pattern="2:4")
    assert (wanda.dense, wanda.sparse, wanda.loss) == (5.12, 11.02, pytest.approx(5.9))
    (bdwp,) = published.points(method="bdwp")
    assert (bdwp.pattern, bdwp.dense, bdwp.loss) == ("2:8", None, 0.56)
    (opt,) = published.points(model="OPT-175B", method="sparsegpt", pattern="unstructured(0.5)")
    assert (opt.dense, opt.sparse) == (8.35, 8.21)
    assert opt.loss < 0


@given(machine=st.sampled_from(PATTERNS), point=st.sampled_from(PATTERNS),
       seed=st.integers(0, 1000))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_a_machine_that_allows_a_point_accepts_its_masks(
    machine: str, point: str, seed: int
) -> None:
    takes, of = parse_pattern(machine), parse_pattern(point)
    if published.allows(takes, of):
        assert takes.accepts(of.sample(48, 48, seed))


@pytest.mark.parametrize(
    ("machine", "point", "allowed"),
    [
        ("2:4", "2:4", True), ("4:8", "2:4", True), ("2:4", "4:8", False), ("2:4", "1:4", True),
        ("2:4", "1:2", True), ("2:4", "2:8", True), ("2:8", "2:4", False), ("2:4", "3:6", False),
        ("2:4", "unstructured(0.9)", False), ("unstructured(0.5)", "2:4", True),
        ("unstructured(0.75)", "2:4", False), ("unstructured(0.5)", "unstructured(0.7)", True),
        ("2:4", "transposable(2:4)", True), ("2:4@out", "2:4", False), ("dense", "2:4", True),
    ],
)  # fmt: skip
def test_which_points_a_machine_is_offered(machine: str, point: str, allowed: bool) -> None:
    assert published.allows(parse_pattern(machine), parse_pattern(point)) is allowed


def test_no_stricter_machine_is_offered_a_looser_point() -> None:
    offered = published.points(model="LLaMA-2-7B", machine="2:4")
    assert {p.pattern for p in offered} == {"2:4"}
    offered = published.points(model="LLaMA-2-7B", machine="4:8")
    assert {p.pattern for p in offered} == {"2:4", "4:8"}


def test_only_comparable_points_are_ranked() -> None:
    one_table = published.points(model="LLaMA-2-7B", pattern="2:4")
    assert [p.method for p in published.rank(one_table)] == [
        "sparsegpt", "wanda", "magnitude_uniform",
    ]  # fmt: skip
    mixed = published.points(model="OPT-125M", pattern="2:4")
    assert len({p.source for p in mixed} | {p.protocol for p in mixed}) > 1
    with pytest.raises(CodesignError, match="inside one source"):
        published.rank(mixed)


def test_unknown_names_are_answered_and_empty_answers_are_no_error() -> None:
    with pytest.raises(CodesignError, match="did you mean 'wanda'"):
        published.points(method="wandaa")
    assert published.points(method="wanda", pattern="1:16") == []


def test_the_verb_prints_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", "published", "--method", "bdwp", "--json"]) == 0
    (point,) = json.loads(capsys.readouterr().out)["points"]
    assert point["loss"] == 0.56
    assert "2309.13015" in point["source"]
    assert main(["accuracy", "published", "--model", "ResNet-50"]) == 0
    said = capsys.readouterr().out
    assert "2302.06058" in said
    assert "unverified" in said
    assert main(["accuracy", "published", "--model", "LLaMA-2-7B", "--machine-pattern", "2:4"]) == 0
    assert "compare inside one table only" in capsys.readouterr().out
