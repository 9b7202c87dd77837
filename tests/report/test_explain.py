"""Does every word that a result or a machine file holds have a meaning that can be asked for?"""

from __future__ import annotations

from dataclasses import fields

import pytest

from codesign.config import CodesignError
from codesign.metrics.result import Result
from codesign.report import explain


def test_every_field_of_a_result_is_a_metric_and_no_other() -> None:
    assert set(explain.glossary().metrics) == {field.name for field in fields(Result)}


def test_every_number_of_a_machine_file_says_what_it_is() -> None:
    dumb = [word for word in explain.vocabulary()["field"] if not explain.explain(word)[0].what]
    assert dumb == []


def test_no_meaning_is_kept_of_a_field_that_is_gone() -> None:
    assert set(explain.glossary().fields) <= set(explain.vocabulary()["field"])


@pytest.mark.parametrize(
    "kind", ["metric", "term", "machine", "family", "workload", "change", "method"]
)
def test_every_word_of_a_kind_is_explained_as_that_kind(kind: str) -> None:
    for word in explain.vocabulary()[kind]:
        assert any(m.kind == kind and m.name == word and m.what for m in explain.explain(word)), (
            word
        )


@pytest.mark.parametrize(
    ("text", "title"),
    [("2:4", "N:M groups"), ("block(8x8, 0.5)", "lock"), ("monarch(8)", "Monarch")],
)
def test_a_pattern_is_explained_by_the_page_of_its_kind(text: str, title: str) -> None:
    assert any(title in meaning.name for meaning in explain.explain(text))


def test_a_field_is_found_by_its_last_name_with_unit_bounds_and_the_machines_that_state_it() -> (
    None
):
    (found,) = explain.explain("leakage_mw_per_mm2")
    rows = dict(found.rows)
    assert found.name == "technology.leakage_mw_per_mm2"
    assert (rows["type"], rows["unit"]) == ("number, >= 0", "mW/mm²")
    assert "sat" in rows["20, assumed"].split(", ")


def test_a_method_says_which_products_are_sparse() -> None:
    (found,) = explain.explain("sdgp")
    assert dict(found.rows)["sparse"] == "output gradients in backward-data"


@pytest.mark.parametrize(("wrong", "right"), [("latency_ss", "latency_s"), ("satt", "sat")])
def test_a_word_nearly_right_is_answered_with_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(CodesignError, match=f"did you mean '{right}'"):
        explain.explain(wrong)


def test_a_word_without_meaning_is_cut_and_pointed_to_the_list() -> None:
    with pytest.raises(CodesignError, match="`codesign explain` lists the words") as caught:
        explain.explain("<script>" * 4000)
    assert len(str(caught.value)) < 200
