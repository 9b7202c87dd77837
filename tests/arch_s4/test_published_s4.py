"""Are the S4's errors within their bounds, and do its curves have the published shape?"""

from __future__ import annotations

from itertools import pairwise

import pytest

from codesign.measure import validate_published, validate_published_s4
from codesign.measure.s4_networks import NETWORKS, network
from codesign.measure.suite import compare, report

# Million MACs and thousand parameters at the inputs of the table (224, 256, or 300x304), published
# at 224, 256 or 299: torchvision and timm model cards.
PUBLISHED = {
    "ResNet50": (4089, 25557), "ResNet101": (7801, 44549), "DarkNet53": (9300, 41600),
    "ShuffleNetV2": (145, 2279), "VGG16": (15470, 138358), "VGG19": (19632, 143667),
    "InceptionV3": (5713 * 300 * 304 / 299**2, 23800), "ResNet50_vd": (4350, 25580),
    "InceptionV4": (12270 * 300 * 304 / 299**2, 42680),
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return validate_published_s4.run(None)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_have_the_published_sizes(name):
    trace = network(name, 1, "bf16")
    macs, parameters = PUBLISHED[name]
    assert trace.macs / 1e6 == pytest.approx(macs, rel=0.02)
    assert trace.parameter_count / 1e3 == pytest.approx(parameters, rel=0.01)


def test_a_batch_multiplies_the_work_and_not_the_weights():
    one, four = network("InceptionV3", 1, "bf16"), network("InceptionV3", 4, "bf16")
    assert four.macs == 4 * one.macs
    assert four.parameters == one.parameters


def test_errors_are_within_the_bounds(found):
    assert found.passed
    errors = {group.name: group.mape for group in found.groups}
    assert errors["calibration rows"] <= 0.15
    assert errors["held-out rows"] <= 0.20
    assert {g.name: g.rows for g in found.groups}["calibration rows"] == 14


def test_only_what_was_not_used_is_held_out():
    names = [name for name, _, _ in validate_published_s4.held_out()]
    used = validate_published_s4.inferred("resnet50")
    assert used.along < 1
    assert not any(name.startswith("resnet50 s4 ") for name in names)


def test_resnet_scales_with_sparsity_and_bert_saturates():
    rate = validate_published_s4.rate
    resnet = [rate("s4", "resnet50", r) / rate("s4", "resnet50", 1) for r in (1, 2, 4, 8, 16, 32)]
    bert = [rate("s4", "bert_large", r) / rate("s4", "bert_large", 1) for r in (1, 2, 4, 8, 16, 32)]
    assert resnet == sorted(resnet)
    assert bert == sorted(bert)
    # Each doubling of the ratio brings ResNet-50 at least 1.5x; BERT-large ever less.
    assert min(b / a for a, b in pairwise(resnet)) > 1.5
    gains = [b / a for a, b in pairwise(bert)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < 1.3
    assert resnet[-1] > 1.8 * bert[-1]


def test_s4_over_t4_lies_between_16x_and_32x(found):
    rows = [row for row in found.table if "published/T4" in row]
    resnet = next(row for row in rows if row["model"] == "resnet50")
    assert resnet["published/T4"] == pytest.approx(5.4, abs=0.01)
    assert resnet["at 16x/T4"] < 5.4 < resnet["at 32x/T4"]
    bert = next(row for row in rows if row["model"] == "bert_large")
    assert bert["published/T4"] == pytest.approx(3.24, abs=0.01)
    assert bert["at 32x/T4"] == pytest.approx(3.24, rel=0.1)


def test_joined_reports_keep_rows_errors_and_misses():
    good = report("published_a", [compare("x", [(10, 10), (9, 10)], within=0.1)])
    bad = report("published_b", [compare("y", [(20, 10)], within=0.5)], table=[{"section": "s"}])
    both = validate_published.joined([good, bad])
    assert (both.rows, both.exact_rows, both.max_abs_diff) == (3, 1, 10)
    assert both.mape == pytest.approx((0.1 + 1.0) / 3)
    assert not both.passed
    assert validate_published.joined([good]).passed
    assert [group.name for group in both.groups] == ["a: x", "b: y"]
    assert both.table[0]["section"] == "b: s"
