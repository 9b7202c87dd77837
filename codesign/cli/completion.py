"""`codesign completion`: what a shell has to read to complete verbs, machines and workloads."""

from __future__ import annotations

import click

from codesign.cli.suggest import OneOf

_HOW = {
    "bash": "codesign completion bash >> ~/.bashrc",
    "zsh": "codesign completion zsh >> ~/.zshrc",
    "fish": "codesign completion fish > ~/.config/fish/completions/codesign.fish",
}


@click.command("completion", epilog="\b\n" + "\n".join(_HOW.values()))
@click.argument("shell", type=OneOf(*_HOW, what="shell"), metavar="|".join(_HOW))
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from codesign.cli import COMPLETE, root

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root, {}, "codesign", COMPLETE).source())
