"""The example notebooks: run, compared with what they hold, and shown on the site.

python -m docs_site.notebooks            # runs all, says which print something else
python -m docs_site.notebooks --renew    # runs all and writes what they print now
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "notebooks"
_LONGEST_S = 300


def names() -> list[str]:
    """The notebooks, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> Any:
    """A notebook as it is committed."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def executed(notebook: Any) -> Any:
    """A copy of a notebook with the outputs of a run in a fresh kernel; errors pass through.

    What goes to standard error, such as warnings of packages, is left out.
    """
    from nbclient import NotebookClient
    from traitlets.config import Config

    copy = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    with TemporaryDirectory() as sockets:
        NotebookClient(
            copy,
            config=Config(AsyncKernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"}),
            timeout=_LONGEST_S,
            resources={"metadata": {"path": str(ROOT)}},
            record_timing=False,
        ).execute()
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return copy


def _joined(outputs: list[Any]) -> list[Any]:
    """Neighbouring pieces of one stream as one: where they are cut is chance."""
    joined: list[Any] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        last = joined[-1] if joined else None
        if last is not None and output.output_type == "stream" == last.output_type:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def printed(notebook: Any) -> list[str]:
    """What each code cell prints."""
    return [
        "".join(_text(output) for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.get("data", {}).get("text/plain", ""))


def as_markdown(notebook: Any) -> str:
    """A page of the site: text, code, and what the code prints."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if text := "".join(_text(output) for output in cell.outputs).rstrip("\n"):
            parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Check the notebooks, or renew them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", default=names())
    parser.add_argument("--renew", action="store_true")
    chosen = parser.parse_args()
    stale = 0
    for name in chosen.names:
        held = read(name)
        fresh = executed(held)
        if chosen.renew:
            nbformat.write(fresh, FOLDER / f"{name}.ipynb")  # type: ignore[no-untyped-call]
        elif printed(fresh) != printed(held):
            stale += 1
            print(f"{name} prints something else; --renew writes it")
    return int(stale > 0)


if __name__ == "__main__":
    sys.exit(main())
