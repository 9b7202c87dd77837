"""Do the example notebooks run, and do they print what they hold?"""

from __future__ import annotations

import pytest

pytest.importorskip("nbclient")

from docs_site.console import alike
from docs_site.notebooks import as_markdown, executed, names, printed, read


def test_there_are_three_and_each_is_executed() -> None:
    assert len(names()) >= 3
    for name in names():
        cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in cells), name
        assert sum(map(bool, printed(read(name)))) >= 3, name


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_notebook_prints_what_it_holds(name: str) -> None:
    if name == "train_with_bdwp":
        pytest.importorskip("sklearn")
    held = read(name)
    for before, now in zip(printed(held), printed(executed(held)), strict=True):
        assert alike(before, now), f"python -m docs_site.notebooks --renew\n{now}"


def test_a_notebook_becomes_a_page() -> None:
    page = as_markdown(read("does_2_4_pay"))
    assert page.startswith("# Does 2:4 pay on my GPU?")
    assert "```python\nimport codesign" in page
    assert "```text\nsize " in page
