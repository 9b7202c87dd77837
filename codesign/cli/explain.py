"""`codesign explain`: what a metric, field, pattern, method, machine or term means."""

from __future__ import annotations

from dataclasses import asdict

import click

from codesign.cli import options
from codesign.cli.console import print_json, show, table

_PLURALS = {"kind of sparsity": "kinds of sparsity", "family": "families"}


@click.command("explain")
@click.argument("word", required=False)
@options.as_json
def command(word: str | None, as_json: bool) -> None:
    """Say what a word means.

    WORD is a metric (edp_js), a field of machine files (dram.bytes_per_cycle), a pattern (2:4) or
    kind of sparsity, a training method (bdwp), a machine, a family of machines, a workload, or a
    term (row_hit); without one, all words are listed.
    """
    from codesign.report import explain

    if word is None:
        _list(explain.vocabulary(), as_json=as_json)
        return
    found = explain.explain(word)
    if as_json:
        print_json({"word": word, "meanings": [asdict(meaning) for meaning in found]})
        return
    for i, meaning in enumerate(found):
        if i:
            show()
        show(f"{meaning.name} · {meaning.kind}", bold=True)
        show(meaning.what)
        if meaning.rows:
            grid = table("", "", left=2)
            grid.show_header = False
            for label, text in meaning.rows:
                grid.add_row(label, text)
            show(grid)
        if meaning.example:
            show(f"try: {meaning.example}")


def _list(words: dict[str, list[str]], *, as_json: bool) -> None:
    if as_json:
        print_json({"words": words})
        return
    for kind, names in words.items():
        show(_PLURALS.get(kind, f"{kind}s"), bold=True)
        show(", ".join(names))
