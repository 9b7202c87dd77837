"""Make the reports that the repository holds: the demo's and one of each shipped sweep.

    python examples/reports.py [--stores runs/sweeps] [--out reports] [--only NAME ...] [--pictures]

Runs `examples/demo.py` and `examples/sweeps.py` (which goes on with stores that are there), then
writes OUT/NAME/index.html and OUT/NAME/points.csv from each store. `--pictures` also takes the
screenshots of docs/images; it needs Playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from codesign.cli.console import show
from codesign.report.gather import gather, write_points
from codesign.report.html import write_report
from codesign.sweep.check import sweep_names
from examples.sweeps import RUN_CAPS

EXAMPLES = Path(__file__).resolve().parent
IMAGES = EXAMPLES.parent / "docs" / "images"
PICTURED = "resnet50_sat"
PHONE, DESKTOP = (390, 844), (1280, 1150)


def sweep_report(store: Path, out: Path) -> None:
    """The report of one store and its points."""
    found = gather([store])
    name = store.stem
    cap = f" run_cap={RUN_CAPS[name]}" if name in RUN_CAPS else ""
    commands = [f"codesign sweep {name}{cap} -o {name}.db", f"codesign report {name}.db"]
    write_report(found.results, out / "index.html", **found.options(None, 0, commands))
    write_points(found, out / "points.csv")


def pictures(reports: Path, out: Path) -> None:
    """Screenshots of the demo's and of a sweep's report, on a phone and on a desk."""
    from playwright.sync_api import sync_playwright

    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name in ("demo", PICTURED):
            for where, (width, height) in (("phone", PHONE), ("desktop", DESKTOP)):
                page = browser.new_page(
                    viewport={"width": width, "height": height}, reduced_motion="reduce"
                )
                page.goto((reports / name / "index.html").resolve().as_uri())
                if name == PICTURED:
                    page.locator(".grid-body button").first.click()
                    page.evaluate("document.getElementById('front').scrollIntoView()")
                page.screenshot(path=out / f"{name}-{where}.jpg", type="jpeg", quality=55)
                page.close()
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", type=Path, default=Path("runs/sweeps"))
    parser.add_argument("--out", type=Path, default=Path("reports"))
    parser.add_argument("--only", nargs="+", choices=["demo", *sweep_names()])
    parser.add_argument("--pictures", action="store_true")
    asked = parser.parse_args()
    names = asked.only or ["demo", *sweep_names()]
    if "demo" in names:
        _run("demo.py", "--out", str(asked.out / "demo"))
    if sweeps := [name for name in names if name != "demo"]:
        _run("sweeps.py", "--out", str(asked.stores), "--only", *sweeps)
    for name in sweeps:
        sweep_report(asked.stores / f"{name}.db", asked.out / name)
        show(f"{asked.out / name / 'index.html'}")
    if asked.pictures:
        pictures(asked.out, IMAGES)


def _run(script: str, *arguments: str) -> None:
    """Run another example; what fails there has said why."""
    done = subprocess.run([sys.executable, str(EXAMPLES / script), *arguments], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
