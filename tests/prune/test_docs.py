"""Does every example of docs/prune run, and does each sparsifier have one?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codesign.prune.registry import SPARSIFIERS

PAGES = sorted((Path(__file__).parents[2] / "docs" / "prune").glob("*.md"))
BLOCKS: dict[str, list[str]] = {}
for path in PAGES:
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"```python\n(.*?)```", text, re.DOTALL)
    # as many empty lines before as make the line numbers of a failure those of the page
    BLOCKS[path.stem] = ["\n" * text.count("\n", 0, m.start(1)) + m[1] for m in found]


@pytest.mark.parametrize("page", BLOCKS)
def test_examples_run(page) -> None:
    assert BLOCKS[page]
    for block in BLOCKS[page]:
        exec(compile(block, f"docs/prune/{page}.md", "exec"), {"__name__": "example"})


def test_every_sparsifier_is_in_an_example() -> None:
    code = "\n".join(block for blocks in BLOCKS.values() for block in blocks)
    assert [name for name in SPARSIFIERS if f'"{name}"' not in code] == []
