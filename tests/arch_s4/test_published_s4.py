"""Are the S4's errors within their bounds, and do its curves have the published shape?"""

from __future__ import annotations

from itertools import pairwise

import pytest

from codesign.measure import s4_mlperf, validate_published, validate_published_s4
from codesign.measure.s4_mlperf import BERT_384, RATIOS, RESNET, rate
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
    rows = {group.name: group.rows for group in found.groups}
    assert errors["calibration rows"] <= 0.15
    assert errors["held-out rows"] <= 0.20
    assert (rows["calibration rows"], rows["held-out rows"]) == (14, 22)
    assert errors["held out: ResNet-50 and BERT-large"] <= 0.10


def test_what_was_fitted_and_read_off_is_counted_from_the_machine_file(found):
    groups = {group.name: group for group in found.groups}
    note = groups["calibration rows"].note
    assert note.startswith("4 fitted constants: ")
    assert note.endswith("1 reading: fills_square_kernels")
    # The reading moves the two Inceptions and nothing else.
    rows = [row for row in found.table if "kernels as they are" in row]
    moved = [row["row"] for row in rows if row["kernels as they are"] != row["ours"]]
    assert moved == ["InceptionV3", "InceptionV4"]
    assert groups["calibration rows without the reading"].mape > 0.2


def test_only_what_was_not_used_is_held_out():
    names = [name for name, _, _ in s4_mlperf.held_out()]
    assert all(s4_mlperf.place(model)[0].along < 1 for model in s4_mlperf.JOBS)
    assert not any(" s4 " in name for name in names)


def test_resnet_scales_with_sparsity_and_bert_saturates():
    def speedups(job):
        return [rate("s4", job, r) / rate("s4", job, 1) for r in RATIOS]

    resnet, bert = speedups(RESNET), speedups(BERT_384)
    assert resnet == sorted(resnet)
    assert bert == sorted(bert)
    # Each doubling of the ratio brings ResNet-50 at least 1.65x; BERT-large ever less.
    assert min(b / a for a, b in pairwise(resnet)) > 1.65
    gains = [b / a for a, b in pairwise(bert)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < 1.3
    assert resnet[-1] > 1.8 * bert[-1]


@pytest.mark.parametrize(("card", "job"), [("s40", RESNET), ("s4", BERT_384)])
def test_each_request_adds_as_much_as_the_second(card, job):
    """S40 at 32x is bound by copies, S4 by its cores."""
    assert rate(card, job, 32) == pytest.approx(s4_mlperf._added(card, job, 32, 4))


def test_the_submissions_have_a_feasible_sparsity(found):
    rows = [row for row in found.table if "inferred" in row]
    by = {(row["model"], row["a sample"].split(":")[0]): row["inferred"] for row in rows}
    assert by["resnet50", "an image"] == "16x to 32x"
    for rows_of_a_sample in s4_mlperf.ROWS_PER_SAMPLE:
        low, high = by["bert_large", rows_of_a_sample].replace("x", "").split(" to ")
        assert (int(low), int(high)) in pairwise(RATIOS)
    assert by["bert_large", "one sequence of 384"] == "above 32x"
    # No sparsity of weights reaches GPT-J's rate: the cache alone takes longer.
    assert s4_mlperf.gptj_rate(32) < s4_mlperf.gptj_cache_rate() < 23.28 / 3


def test_s4_over_t4_lies_inside_what_the_ratios_allow(found):
    rows = {row["model"]: row for row in found.table if "32x" in row}
    assert rows["resnet50"]["published"] == pytest.approx(5.4, abs=0.01)
    assert rows["resnet50"]["16x"] < 5.4 < rows["resnet50"]["32x"]
    assert rows["bert_large"]["published"] == pytest.approx(3.24, abs=0.01)
    assert rows["bert_large"]["4x"] < 3.24 < rows["bert_large"]["8x"]


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
