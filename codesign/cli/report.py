"""`codesign report`: runs and sweeps as one file to read, print and share."""

from __future__ import annotations

from pathlib import Path

import click

from codesign.cli import options
from codesign.cli.console import print_json, show
from codesign.cli.suggest import Count


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="PATH",
    help="A name that ends in .html, .md, .csv or .json, or a folder for all of them.",
)
@click.option("--title", help="What stands above it. [default: what the runs are of]")
@click.option(
    "--baseline",
    type=Count(0, 10**9),
    metavar="N",
    help="What others are measured against: a point of a sweep, or the N-th result from 0.",
)
@click.option(
    "--no-sensitivity",
    is_flag=True,
    help="Leave out what doubtful numbers do; a sweep's report is then made faster.",
)
@click.option("--png", is_flag=True, help="Figures of Markdown as PNG; needs a Chromium.")
@options.as_json
@options.quiet
def command(
    runs: tuple[Path, ...],
    output: Path,
    title: str | None,
    baseline: int | None,
    no_sensitivity: bool,
    png: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a report of one or several runs.

    RUN is the store of a sweep (`codesign sweep`), or the folder that `codesign simulate -o` or
    `codesign compare -o` left, or a results.json. The page holds all it needs and asks the network
    for nothing.
    """
    from codesign.cli.inputs import command_line
    from codesign.report.gather import gather, is_store, write

    stores = any(is_store(run) for run in runs)
    found = gather(runs, point=baseline if stores else None, closely=not no_sensitivity)
    first = 0 if stores or baseline is None else baseline
    told = found.options(title, first, [command_line()])
    files = write(found, output, told, png=png)
    from codesign.report.page import page

    sentences = page(found.results, told).sentences
    if as_json:
        print_json({"answer": list(sentences), "files": [str(file) for file in files]})
    elif not quiet:
        for sentence in sentences:
            show(sentence)
        show(f"\nreport: {files[0]}")
