"""`codesign arch`: the machines, where their numbers come from, and whether they keep the laws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table
from codesign.cli.suggest import VerbGroup, unknown

machine = click.argument("machine", metavar="NAME|FILE")


@click.group("arch", cls=VerbGroup)
def command() -> None:
    """List, show and check machines."""


@command.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the shipped machines."""
    from codesign.arch import list_archs, load_arch

    specs = {name: load_arch(path).spec for name, path in list_archs()}
    if as_json:
        rows = [
            {
                "name": name,
                "family": spec.machine,
                "clock_mhz": spec.clock_mhz,
                "node_nm": spec.technology.node_nm,
                "description": spec.description,
            }
            for name, spec in specs.items()
        ]
        print_json({"archs": rows})
        return
    grid = table("machine", "family", "what it is", "MHz", "nm", left=3)
    for name, spec in specs.items():
        about = spec.description.strip().splitlines()[0] if spec.description else ""
        node = str(spec.technology.node_nm)
        grid.add_row(name, spec.machine, about, f"{spec.clock_mhz:g}", node)
    show(grid)


@command.command("show")
@machine
@options.set_values
@options.as_json
def show_(machine: str, assignments: tuple[str, ...], as_json: bool) -> None:
    """Show the numbers of a machine and their sources."""
    from codesign.cli.inputs import read_machine

    spec = read_machine(machine, assignments).spec
    changed = tuple(text.partition("=")[0].strip() for text in assignments)
    if as_json:
        print_json(spec.model_dump(mode="json"))
        return
    show(f"{spec.name} · {spec.machine}", bold=True)
    if spec.description:
        show(spec.description.strip())
    grid = table("path", "value", "status", "source", left=4)
    stated = [(path, f"{value:g}") for path, value in spec.numbers()]
    stated += [(path, str(value).lower()) for path, value in spec.choices()]
    for path, shown in stated:
        source = spec.source_of(path)
        told = (source.status, source.source) if source else ("", "")
        if any(f"{path}.".startswith(f"{each}.") for each in changed):
            told = ("changed", "--set, in place of the file's")
        grid.add_row(path, shown, *told)
    show(grid)
    for anchor in spec.anchors:
        show(
            f"anchor: {anchor.workload} {anchor.quantity} = {anchor.value:g} "
            f"within {anchor.tolerance:.0%} ({anchor.source})"
        )


@command.command("check")
@machine
@click.option("--quick", is_flag=True, help="Fewer probes and patterns.")
@options.as_json
def check(machine: str, quick: bool, as_json: bool) -> None:
    """Run the conformance suite on a machine.

    It holds a machine to the laws that every machine keeps.

    Exits with 1 when a check fails.
    """
    from codesign.cli.inputs import read_machine

    built = read_machine(machine, ())
    from codesign.measure.conformance import check as hold_to_laws

    rows = hold_to_laws(built, quick=quick)
    failed = [row for row in rows if not row.passed]
    if as_json:
        plain = [{"name": r.name, "passed": r.passed, "detail": r.detail} for r in rows]
        print_json({"arch": machine, "passed": not failed, "rows": plain})
    else:
        grid = table("check", "", "detail", left=3)
        for row in rows:
            grid.add_row(row.name, "ok" if row.passed else "FAIL", row.detail)
        show(grid)
        show(f"{machine}: {len(rows) - len(failed)} of {len(rows)} checks pass")
    if failed:
        raise click.exceptions.Exit(1)


@command.command("schema")
@click.argument("family", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the schema there.",
)
def schema(family: str | None, output: Path | None) -> None:
    """Print the JSON Schema of machine files, for editors.

    Of one FAMILY, or of all.
    """
    from codesign.arch import arch_schema, families
    from codesign.config import CodesignError

    known = families()
    if family is not None and family not in known:
        raise CodesignError(unknown("family", family, list(known)))
    content: dict[str, Any] = (
        arch_schema() if family is None else known[family].spec_type.model_json_schema()
    )
    if output is None:
        print_json(content)
    else:
        output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
