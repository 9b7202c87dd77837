"""The pictures of the concept pages: `python -m docs_site.pictures` draws them anew."""

from __future__ import annotations

from pathlib import Path

from codesign.report.svg import Figure
from docs_site import dram_rows, overlap, storage, wavefronts

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "concepts" / "pictures"


def pictures() -> list[Figure]:
    """Every picture; each is drawn from what the code that it is about does."""
    return [
        wavefronts.dataflows(),
        wavefronts.zeros_in_time(),
        overlap.double_buffers(),
        storage.formats(),
        dram_rows.rows(),
    ]


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for picture in pictures():
        (FOLDER / f"{picture.name}.svg").write_text(picture.standalone(), encoding="utf-8")


if __name__ == "__main__":
    main()
