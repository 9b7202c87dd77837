"""`codesign init`: a machine, a workload and a sweep to start from."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

import click

from codesign.cli.console import show

_FILES = ("my_chip.yaml", "my_model.yaml", "my_sweep.yaml")


@click.command("init")
@click.argument(
    "folder", default=".", type=click.Path(file_okay=False, path_type=Path), metavar="[DIR]"
)
@click.option("--force", is_flag=True, help="Write over files that are there.")
def command(folder: Path, force: bool) -> None:
    """Write a commented machine, workload and sweep to start from.

    They go to DIR, by default the current folder, and run as they are.
    """
    from codesign.config import CodesignError

    there = [name for name in _FILES if (folder / name).exists()]
    if there and not force:
        raise CodesignError(
            f"{', '.join(str(folder / name) for name in there)} would be written over; "
            "--force does that"
        )
    folder.mkdir(parents=True, exist_ok=True)
    source = files("codesign.cli") / "start"
    for name in _FILES:
        text = (source / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")
        show(f"wrote {folder / name}")
    if folder != Path():
        click.echo(f"  cd {shlex.quote(str(folder))}")
    chip, model, sweep = _FILES
    click.echo(f"  codesign simulate {model} --arch {chip} --sparsity 2:4")
    click.echo(f"  codesign compare {model} --arch {chip} --arch dense_systolic --sparsity 2:4")
    click.echo(f"  codesign sweep {sweep}")
