"""Are published rates of boards read as written, simulated as their sources timed, and kept from
the fits that they test?"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from codesign.config import CodesignError
from codesign.measure import gpu_board_claims as claims
from codesign.measure import gpu_claim_fit
from codesign.measure.gpu_board_claims import (
    BOUND,
    BoardClaim,
    BoardClaims,
    board,
    board_claims,
    board_scores,
    pairs_of,
    protocol_of,
    role_of,
    rows_of,
)
from codesign.measure.gpu_claim_fit import fit_energy, large_products
from codesign.measure.gpu_fit import Case, Fit
from codesign.measure.gpu_power import PowerLaw, start_law
from codesign.measure.gpu_rows import machine_name, protocols
from codesign.measure.gpu_settings import ClaimedProcess, settings

SQUARES = {"gpu": "A40", "dtype": "fp16", "source": "squares"}


def claim(**fields: object) -> BoardClaim:
    return BoardClaim.model_validate_json(json.dumps({**SQUARES, **fields}))


def scored(one: BoardClaim) -> list[tuple[float, float]]:
    return pairs_of(one, board(one), protocol_of(one))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"squares": [64, 128], "tflops": [1.0]}, "2 products with 1 rates"),
        ({"squares": [64]}, "tflops or best_tflops"),
        ({"squares": [64], "tflops": [1.0], "best_tflops": 1.0}, "tflops or best_tflops"),
        ({"squares": [64], "shapes": [[1, 2, 3]], "tflops": [1.0]}, "squares, shapes, or"),
        ({"batches": [1], "tflops": [1.0]}, "weights with batches"),
        ({"squares": [64], "weights": [8, 8], "tflops": [1.0]}, "weights with batches"),
    ],
)
def test_a_claim_that_is_not_whole_is_refused(fields, told):
    with pytest.raises(ValidationError, match=told):
        claim(**fields)


def test_sources_are_named_and_boards_are_shipped():
    with pytest.raises(ValidationError, match="no source 'squares'"):
        BoardClaims(sources={}, claims=(claim(squares=[64], best_tflops=1.0),))
    with pytest.raises(CodesignError, match="no GPU is shipped for the board 'V100'"):
        board(claim(gpu="V100", squares=[64], best_tflops=1.0))


def test_products_and_times_are_those_of_the_rates():
    weights = rows_of(claim(weights=[6, 5], batches=[1, 4], tflops=[1.0, 2.0]))
    assert weights.sizes.tolist() == [[1, 1, 6, 5], [1, 4, 6, 5]]
    assert weights.latency_us.tolist() == [2 * 30 / 1e6, 2 * 120 / 2e6]
    shapes = rows_of(claim(shapes=[[2, 3, 4]], tflops=[1.0]))
    assert shapes.sizes.tolist() == [[1, 2, 3, 4]]


def test_the_best_of_several_products_is_one_pair():
    each = claim(squares=[1024, 4096], tflops=[80.0, 110.0])
    best = claim(squares=[1024, 4096], best_tflops=110.0)
    found = scored(each)
    assert [published for _, published in found] == [80.0, 110.0]
    assert scored(best) == [(max(ours for ours, _ in found), 110.0)]


def test_a_source_is_timed_as_it_says_and_else_as_an_unknown_origin():
    plain = claim(squares=[64], best_tflops=1.0)
    assert protocol_of(plain) == protocols().find(rows_of(plain))
    cold = plain.model_copy(update={"source": "mamf"})
    assert protocol_of(cold).warm == 0 < protocol_of(plain).warm


def test_no_simulated_rate_is_over_the_peak():
    for one in board_claims().claims:
        spec = board(one).spec
        peak = 2 * spec.sm.count * spec.mma[one.dtype] * spec.clock_mhz / 1e6
        assert all(ours <= peak for ours, _ in scored(one)), one.gpu


def test_every_role_has_its_groups_and_only_unseen_boards_have_a_bound():
    groups, rows = board_scores()
    for group in groups:
        unseen = group.name.endswith(", unseen")
        assert (group.bound is not None) == unseen
        assert unseen or group.passed
        assert group.passed == (not unseen or group.mape <= BOUND)
    assert {"A40, unseen", "T4, unseen", "L40S, unseen", "RTX-5080, unseen"} <= {
        group.name for group in groups
    }
    beside = [pair for one in board_claims().claims if one.beside for pair in scored(one)]
    assert beside
    products = [row for row in rows if str(row["section"]).startswith("TFLOPS")]
    assert len(products) == sum(group.rows for group in groups) + len(beside)


def test_what_an_energy_is_fitted_to_tests_nothing():
    plan = settings().claimed_processes["8N"]
    roles = {one.gpu: role_of(one) for one in board_claims().claims}
    assert {gpu for gpu, role in roles.items() if role == "fitted"} == set(plan.boards)
    assert {machine_name(gpu) for gpu in plan.boards} < set(plan.machines)
    assert roles["A40"] == "unseen"
    assert roles["RTX-4090"] == "calibrated"


def test_the_shipped_energy_is_the_one_that_its_claims_ask_for():
    for name, plan in settings().claimed_processes.items():
        machine = claims.tensor_core(plan.machines[0])
        power, one = machine.spec.power, claim(squares=[2048], best_tflops=1.0)
        law = PowerLaw(power.exponent, power.sparse_factor, {name: plan.start}, {})
        family = Fit((Case(machine, rows_of(one), protocol_of(one)),), 0.0, 1)
        families = {(machine.spec.sm.warp_groups, "dense"): family}
        found = fit_energy(name, plan, law, families, protocols())
        assert found == pytest.approx(power.mac_pj_at_1ghz, rel=0.01)


def test_machines_of_a_process_have_one_energy():
    for plan in (*settings().processes.values(), *settings().claimed_processes.values()):
        found = {claims.tensor_core(name).spec.power.mac_pj_at_1ghz for name in plan.machines}
        assert len(found) == 1


def test_the_energy_that_made_the_rates_is_found_again(monkeypatch):
    law = start_law()
    one = claim(squares=[2048], best_tflops=1.0)
    families = {(False, "dense"): Fit((Case(board(one), rows_of(one), protocol_of(one)),), 0.0, 1)}
    made = replace(law, mac_pj={**law.mac_pj, "8N": 4.0})
    narrow, known = [[65536, 1024, 2048]] * 4, []
    for gpu in ("A40", "RTX-A4000"):
        one = claim(gpu=gpu, shapes=[*narrow, [4096] * 3, [8192] * 3], tflops=[1.0] * 6)
        rates = [ours for ours, _ in pairs_of(one, made.on(board(one)), protocol_of(one))]
        rates[:4] = [rate / 2 for rate in rates[:4]]
        known.append(one.model_copy(update={"tflops": tuple(rates)}))
    published = BoardClaims(sources=board_claims().sources, claims=tuple(known))
    monkeypatch.setattr(gpu_claim_fit, "board_claims", lambda: published)
    plan = ClaimedProcess(start=2.5, machines=("a40", "a4000"), boards=("A40", "RTX-A4000"))
    assert fit_energy("8N", plan, law, families, protocols()) == pytest.approx(4.0, rel=0.02)


def test_a_plan_may_leave_sources_of_a_board_out():
    plan = ClaimedProcess(start=1.0, machines=(), boards=("A40",))
    assert plan.has("A40", "squares")
    assert not plan.has("A4000", "squares")
    assert not plan.model_copy(update={"sources": ("mamf",)}).has("A40", "squares")


def test_only_large_products_say_what_power_allows():
    one = claim(squares=[512, 2048, 4096], tflops=[1.0, 2.0, 3.0])
    large = large_products(one)
    assert large.sizes == [(1, 2048, 2048, 2048), (1, 4096, 4096, 4096)]
    assert large.tflops == (2.0, 3.0)
    assert np.array_equal(rows_of(large).latency_us, rows_of(one).latency_us[1:])
    few_rows = claim(shapes=[[512, 8192, 8192]], tflops=[1.0])
    small_weights = claim(shapes=[[4096, 512, 512]], tflops=[1.0])
    assert large_products(few_rows) is large_products(small_weights) is None


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("A40", "a40"), ("A40-48GB", "a40"), ("RTX-A4000", "a4000"), ("A4500", None),
        ("RTX-A6000", "a6000"), ("RTX-5080", "rtx5080"), ("NVIDIA GeForce RTX 5090", "rtx5090"),
        ("L40S", "l40s"), ("L40", None), ("L4-24GB", "l4"), ("Tesla-T4", "t4"), ("B200", "b200"),
        ("B200-SXM", "b200"), ("GB200-SXM", "gb200"), ("GB200-NVL72", "gb200"), ("GB10", "gb10"),
        ("H100-80GB", "h100_sxm"), ("H100-PCIe-80GB", "h100_pcie"), ("H200-SXM", "h200"),
        ("A100-SXM-40GB", "a100_sxm_40gb"), ("A100", None), ("", None),
    ],
)  # fmt: skip
def test_boards_of_data_files_find_their_machines(gpu, name):
    assert machine_name(gpu) == name
