"""Does SAT train as much faster with BDWP as its paper says, and is its work cut exactly?"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from statistics import fmean

import pytest

from codesign.config import CodesignError
from codesign.measure import validate_sat
from codesign.measure.validate_sat import (
    ABLATIONS,
    IMAGES,
    Case,
    independent_share,
    published,
    speedup_over_dense,
    training,
    work_ratio,
)


def test_the_mean_speedup_is_near_the_published_one() -> None:
    """arXiv 2309.13015, abstract: 1.75x on average for BDWP 2:8."""
    speedups = [speedup_over_dense(Case(model, batch=8)) for model in IMAGES]
    assert published().value == 1.75
    assert fmean(speedups) == pytest.approx(1.75, rel=published().tolerance)
    assert all(1.5 < speedup < 2.0 for speedup in speedups)


@pytest.mark.parametrize(
    ("method", "pattern", "ratio"),
    [
        ("bdwp", "2:4", Fraction(2, 3)),
        ("bdwp", "2:8", Fraction(1, 2)),
        ("bdwp", "2:16", Fraction(5, 12)),
        ("sr_ste", "2:8", Fraction(3, 4)),
        ("sdgp", "2:8", Fraction(3, 4)),
        ("sdwp", "2:4", Fraction(5, 6)),
    ],
)
def test_executed_macs_are_cut_by_the_exact_ratio(
    method: str, pattern: str, ratio: Fraction
) -> None:
    assert work_ratio(method, pattern) == ratio
    for model, layers in (("resnet9", 6), ("vit_cifar", 24)):
        macs = training(Case(model, method, pattern, batch=2)).layer_macs
        assert len(macs) >= layers
        for weight, (executed, dense) in macs.items():
            assert executed == ratio * dense, weight


def test_a_work_ratio_is_stated_for_groups_only() -> None:
    assert work_ratio("fst", "2:4") == Fraction(1, 2)
    with pytest.raises(CodesignError, match="not for unstructured"):
        work_ratio("bdwp", "unstructured(0.75)")


def test_the_share_of_time_that_zeros_do_not_shorten() -> None:
    for share in (0.0, 0.1, 0.167):
        assert independent_share((1 + share) / (0.5 + share), 0.5) == pytest.approx(share)


def test_no_optimisation_of_the_paper_hurts_and_each_one_matters() -> None:
    case = Case("vgg19", batch=4)
    full = training(case).cycles
    without = {
        name: training(replace(case, settings=changed)).cycles
        for name, changed in ABLATIONS.items()
    }
    assert all(cycles > full for cycles in without.values()), without
    assert without["OS, no interleave"] > 2 * without["OS only"]


def test_sparser_patterns_train_faster_and_one_direction_helps_less_than_two() -> None:
    case = Case("resnet9", batch=4)
    by_pattern = [speedup_over_dense(replace(case, pattern=p)) for p in ("2:4", "2:8", "2:16")]
    assert by_pattern == sorted(by_pattern)
    both = speedup_over_dense(case)
    for method in validate_sat.ONE_SIDED:
        assert 1 < speedup_over_dense(replace(case, method=method)) < both


def test_the_report_has_every_section_and_fails_beyond_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validate_sat, "IMAGES", {"resnet9": 32})
    monkeypatch.setattr(validate_sat, "BATCHES", (8, 32))
    found = validate_sat.run()
    assert found.passed
    assert len({row["section"] for row in found.table}) == 6
    assert all(group.exact_rows == group.rows for group in found.groups[1:])
    anchor = published().model_copy(update={"value": 2.5})
    monkeypatch.setattr(validate_sat, "published", lambda: anchor)
    missed = validate_sat.run()
    assert not missed.passed
    assert [group.passed for group in missed.groups] == [False] + [True] * 6
