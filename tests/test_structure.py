"""Does the tree keep the rules of the house?"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from codesign.arch import families, list_archs, load_arch
from codesign.config import Spec

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "codesign"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 420
KERNELS_MOST_LINES = 520
"""A kernel calls only functions of its own file, so one file may hold several."""
FORBIDDEN_WORDS = {"utils", "helpers", "manager", "managers", "common", "misc"}
HEAVY = {"torch", "pandas", "matplotlib", "numba", "scipy", "networkx", "ray", "plotly"}
UNITS = (
    "_bits", "_bytes", "bytes_per_cycle", "_cycles", "_per_cycle", "_mhz", "_ns", "_nm", "_pj",
    "_pj_per_byte", "_pj_at_1ghz", "pj_per_byte_hop", "_mw_per_mm2", "_mm2", "_w", "_ratio",
    "_efficiency", "_factor", "exponent", "tolerance",
)  # fmt: skip
FRACTIONS = {"overlap", "sharing", "sustained"}
DEFINED_IN_PACKAGE = {
    "tilings": "codesign/schedule/fitting.py",
    "outlines": "codesign/schedule/folds.py",
}
"""Kernels whose slow definition is itself part of the package, which other machines use."""
COUNTS = {
    "accumulators", "alu_per_lane", "bank", "bank_size", "banks", "banks_per_unit", "channels",
    "chips", "cols", "columns", "cores", "count", "dot_instructions", "lanes", "load_ports",
    "max_group", "mma", "most_edge", "most_splits", "multiply_ports", "partitions", "registers",
    "row_wise_block", "rows", "select_window", "sm_count", "special_lanes", "sums", "timings",
    "value", "vector_loads", "weight_registers", "window_rows",
}  # fmt: skip
"""True counts; timings of a DRAM by their names in its standard; the value of an anchor, in the
unit of its quantity."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_short_and_named_after_what_it_holds(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (KERNELS_MOST_LINES if path.parent.name == "kernels" else MOST_LINES)
    assert path.stem not in FORBIDDEN_WORDS
    assert len(path.relative_to(PACKAGE).parts) <= 2


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_numba_is_imported_by_kernels_only(path: Path) -> None:
    if path.parent.name != "kernels":
        assert not any(name.split(".")[0] == "numba" for name in imports(path))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_public_functions_and_classes_are_documented(path: Path) -> None:
    module = tree(path)
    if path.name != "__main__.py" and module.body:
        assert ast.get_docstring(module), "the module"
    bare = [
        node.name
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert bare == []


TWINS = sorted((ROOT / "tests" / "reference").glob("*_twin.py"))
KERNEL_FILES = [p for p in sorted((PACKAGE / "kernels").glob("*.py")) if p.stem != "__init__"]


@pytest.mark.parametrize("path", KERNEL_FILES, ids=relative)
def test_a_kernel_imports_kernels_only_and_has_a_twin(path: Path) -> None:
    """The files of one kernel share the twin whose name theirs begin with."""
    ours = {name for name in imports(path) if name.startswith("codesign")}
    assert all(name.startswith("codesign.kernels") for name in ours)
    if path.stem in DEFINED_IN_PACKAGE:
        assert (ROOT / DEFINED_IN_PACKAGE[path.stem]).exists()
        return
    twins = [twin for twin in TWINS if path.stem.startswith(twin.stem.removesuffix("_twin"))]
    assert twins
    for twin in twins:
        assert not {name.split(".")[0] for name in imports(twin)} & {"codesign", "numba"}


@pytest.mark.parametrize("path", KERNEL_FILES, ids=relative)
def test_a_kernel_is_cached_releases_the_lock_and_keeps_the_order_of_sums(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            options = {
                keyword.arg: getattr(keyword.value, "value", None)
                for keyword in getattr(decorator, "keywords", [])
            }
            if "njit" in ast.unparse(decorator):
                assert options.get("cache") is True, node.name
                assert options.get("nogil") is True, node.name
                assert not options.get("fastmath"), node.name


@pytest.mark.parametrize("family", sorted(families()))
def test_a_machine_family_has_a_file(family: str) -> None:
    assert family in {load_arch(path).spec.machine for _, path in list_archs()}


def spec_fields(kind: type[Spec]) -> Iterator[tuple[str, str]]:
    """Every numeric field of a Spec and of the Specs below it."""
    for name, info in kind.model_fields.items():
        for part in annotations(info.annotation):
            if isinstance(part, type) and issubclass(part, Spec):
                yield from spec_fields(part)
            elif part in (int, float):
                yield kind.__name__, name


def annotations(annotation: Any) -> Iterator[Any]:
    below = get_args(annotation)
    if not below:
        yield annotation
    for part in below:
        yield from annotations(part)


@pytest.mark.parametrize("family", sorted(families()))
def test_every_number_of_a_machine_file_names_its_unit_or_is_a_count(family: str) -> None:
    bare = {
        f"{kind}.{name}"
        for kind, name in spec_fields(families()[family].spec_type)
        if name not in COUNTS | FRACTIONS and not name.endswith(UNITS) and name != "options"
    }
    assert bare == set()


def test_importing_the_package_is_cheap() -> None:
    code = "import codesign, sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


def test_a_shipped_file_names_no_path_of_a_machine() -> None:
    folders = ("codesign", "arch_configs", "workloads", "tests", "docs", "examples", "benchmarks")
    texts = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".md", ".txt"} and path != Path(__file__)
    ]
    assert texts
    found = [
        relative(path)
        for path in texts
        if PRIVATE.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert found == []


PRIVATE = re.compile(r"(?<![\w.~])/(?:home|root|Users)/[\w.]+/")
"""Paths of somebody's own machine."""
