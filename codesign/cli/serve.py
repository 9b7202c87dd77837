"""`codesign serve`: a local web page over a folder of runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from codesign.cli import options
from codesign.cli.suggest import Count


@click.command("serve")
@click.argument("run_dir", type=click.Path(path_type=Path), default=".")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Another address lets other machines read the folder.",
)
@click.option(
    "--port",
    type=Count(0, 65535),
    default=8765,
    show_default=True,
    metavar="N",
    help="0 takes a free one.",
)
@options.quiet
def command(run_dir: Path, host: str, port: int, quiet: bool) -> None:
    """Show the studies and reports of a folder in a browser, and follow running sweeps.

    Nothing is written and, unless --host says otherwise, only this machine can reach the page.
    RUN_DIR is the folder where sweeps keep their stores (default: the one you are in).
    """
    from codesign.config import CodesignError
    from codesign.serve.folder import Folder

    folder = Folder.at(run_dir)
    try:
        from codesign.serve.server import listen, serve
    except ImportError as error:
        raise CodesignError(f"the page needs {error.name}: pip install 'codesign[serve]'") from None
    from codesign.serve.guard import is_loopback

    bound = listen(host, port)
    address, taken = bound.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address

    def ready() -> None:
        if not is_loopback(host):
            click.echo(
                f"warning: everyone who can reach {host} can read the studies and reports below "
                f"{folder.root}; without --host only this machine can",
                err=True,
            )
        if not quiet:
            click.echo(f"{folder.root} is at http://{shown}:{taken}/ (Ctrl-C ends)")

    with suppress(KeyboardInterrupt):
        serve(folder, bound, host=host, ready=ready)
