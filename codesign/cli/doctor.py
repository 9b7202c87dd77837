"""`codesign doctor`: what this installation has and lacks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table

_REQUIRED = ("numpy", "numba", "scipy", "networkx", "click", "PyYAML", "pydantic", "rich", "Jinja2")
_OPTIONAL = ("torch",)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for; `state` is ok, absent (optional) or missing (needed)."""

    name: str
    state: str
    detail: str


@click.command("doctor")
@options.as_json
def command(as_json: bool) -> None:
    """Say what this installation has and what it lacks.

    Exits with 1 when something is missing that codesign needs.
    """
    findings = list(examine())
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        grid = table("what", "state", "detail", left=3)
        for finding in findings:
            grid.add_row(finding.name, finding.state, finding.detail)
        show(grid)
    if any(finding.state == "missing" for finding in findings):
        raise click.exceptions.Exit(1)


def examine() -> Iterator[Finding]:
    """Everything that a run may depend on, one finding each."""
    from codesign import __version__

    yield Finding("codesign", "ok", __version__)
    new_enough = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} on {platform.platform(terse=True)}"
    yield Finding("python", "ok" if new_enough else "missing", detail)
    for name in (*_REQUIRED, *_OPTIONAL):
        yield _package(name, needed=name in _REQUIRED)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("processors", "ok", f"{usable} of {os.cpu_count()} usable")
    yield _cache()
    yield from _shipped()
    browser = next((path for path in map(shutil.which, _BROWSERS) if path), None)
    yield Finding(
        "browser", "ok" if browser else "absent", browser or "no Chromium: report tests skip"
    )
    yield _gpu()


def _package(name: str, *, needed: bool) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        lost = "pip install codesign" if needed else "extract and the measurements need it"
        return Finding(name, "missing" if needed else "absent", lost)


def _cache() -> Finding:
    from codesign.kernels import cache_folder

    folder = cache_folder()
    compiled = len(list(folder.rglob("*.nbc")))
    hint = "" if compiled else "; `codesign warmup` fills it"
    return Finding("kernel cache", "ok", f"{folder} ({compiled} compiled{hint})")


def _shipped() -> Iterator[Finding]:
    from codesign.config import shipped

    for folder in ("arch_configs", "workloads"):
        path = shipped(folder)
        count = len(list(path.glob("*.yaml"))) if path.is_dir() else 0
        yield Finding(folder, "ok" if count else "missing", f"{count} files in {path}")


def _gpu() -> Finding:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return Finding("GPU", "absent", "no nvidia-smi: measurements on a GPU are skipped")
    return Finding("GPU", "ok", ", ".join(found.split("\n")[:-1]))
