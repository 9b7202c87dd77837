"""Does docs/cli.md say what the commands take?"""

from __future__ import annotations

from pathlib import Path

from codesign.cli.reference import reference

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def test_the_committed_reference_is_fresh() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), (
        "python -m codesign.cli.reference > docs/cli.md renews it"
    )
