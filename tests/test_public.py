"""Are the public names what they say, in whatever order things are imported, and cheap?"""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "first",
    ["", "import codesign.evaluate", "from codesign.evaluate import run", "import codesign.cli"],
)
def test_public_functions_are_functions_whatever_was_imported_before(first):
    code = (
        f"{first}\nimport codesign\n"
        "names = [n for n in codesign.__all__ if n != '__version__']\n"
        "assert all(type(getattr(codesign, n)).__name__ == 'function' for n in names * 2), names\n"
        "assert set(codesign.__all__) <= set(dir(codesign))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    import codesign

    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        codesign.simulat  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    heavy = ("torch", "pandas", "matplotlib", "plotly", "numba", "ray", "optuna", "transformers")
    code = f"import codesign, sys; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_result_fits_a_line_of_a_notebook():
    import codesign

    gemm, sat = codesign.load_workload("gemm:64,64,64"), codesign.load_arch("sat")
    shown = repr(codesign.evaluate(gemm, sat))
    assert shown.startswith("Result(gemm:64,64,64 on sat, inference, dense, row: ")
    assert len(shown) < 160


@pytest.mark.parametrize(
    ("trace", "machine", "fidelity", "said"),
    [
        ("gpt2", "sat", "row", "a trace is needed, got 'gpt2'; see codesign.load_workload"),
        (None, "sat", "row", "a machine is needed, got 'sat'; see codesign.load_arch"),
        (None, None, "fast", "no fidelity 'fast' (there are tile, row, cycle)"),
    ],
)
def test_what_is_no_trace_machine_or_fidelity_is_told(trace, machine, fidelity, said):
    import codesign
    from codesign.config import CodesignError

    trace = trace or codesign.load_workload("gemm:64,64,64")
    with pytest.raises(CodesignError) as caught:
        codesign.evaluate(trace, machine or codesign.load_arch("sat"), fidelity=fidelity)
    assert str(caught.value) == said


def test_a_trace_and_a_machine_fit_a_line_of_a_notebook():
    import codesign

    trace = codesign.load_workload("gpt2", phase="decode", context=16)
    assert repr(trace) == (
        "Trace(gpt2, decode, batch 1, seq 1, context 16: 160 operators, 1.238e+08 MACs, "
        "1.244e+08 parameters)"
    )
    assert repr(codesign.load_arch("h100_sxm")) == "TensorCore(h100_sxm)"
