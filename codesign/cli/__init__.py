"""The command line: one file for each verb, loaded when the verb is used."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click

from codesign.cli.console import tolerate_encodings
from codesign.cli.suggest import VerbGroup

VERBS = {
    "init": ("init", "Write a commented machine, workload and sweep to start from."),
    "simulate": ("simulate", "Run one workload on one machine."),
    "compare": ("compare", "Run one workload on several machines and name the winners."),
    "crossover": ("crossover", "Say from which size on sparsity pays, and how sure that is."),
    "sweep": ("sweep", "Run many designs from a YAML file and find their front."),
    "show": ("show", "Show the points that a sweep has stored."),
    "serve": (
        "serve",
        "Show the studies and reports of a folder in a browser, and follow running sweeps.",
    ),
    "report": ("report", "Make a report of one or several runs."),
    "extract": ("extract", "Trace a model into a file that every verb reads."),
    "arch": ("arch", "List, show and check machines."),
    "workload": ("workload", "List and show workloads."),
    "check": ("arch", "Run the conformance suite on a machine; same as `arch check`."),
    "validate": ("validate", "Compare simulations with published or measured numbers."),
    "accuracy": ("accuracy", "Measure or look up what sparsity costs in accuracy."),
    "measure": ("measure", "Measure kernels on the NVIDIA GPU of this machine."),
    "explain": ("explain", "Say what a word means."),
    "warmup": ("warmup", "Compile all kernels into the cache."),
    "completion": ("completion", "Print the completion script of a shell."),
    "doctor": ("doctor", "Say what this installation has and what it lacks."),
}
"""Verb -> module of this package, whose object is `command` or the verb, and one line of help."""

DEBUG = "CODESIGN_DEBUG"
COMPLETE = "_CODESIGN_COMPLETE"
BAD_INPUT, UNEXPECTED, INTERRUPTED, BROKEN_PIPE = 2, 3, 130, 141


class _Verbs(VerbGroup):
    """The verbs of the table above, each imported when it is first asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(
        self,
        ctx: click.Context,
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        stem, _ = VERBS[cmd_name]
        module = import_module(f"codesign.cli.{stem}")
        command: click.Command = getattr(module, "command" if stem == cmd_name else cmd_name)
        return command

    def format_commands(
        self,
        ctx: click.Context,
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from codesign import __version__

        click.echo(f"codesign {__version__}")
        ctx.exit()


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "\b\nExamples:\n"
        "  codesign simulate resnet50 --arch sat --sparsity 2:8\n"
        "  codesign compare gpt2 --phase training --arch dense_systolic --arch sat --sparsity 2:8\n"
        "  codesign crossover gemm:4096,14336 --arch rtx4090 --arch gb10 --sparsity 2:4\n"
        "  codesign simulate gemm:512,512,512 --arch sat --set dram.bytes_per_cycle=32 --json\n"
        "  codesign extract torch:my.models:factory -o trace.json"
    ),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Print the version.",
)
def root() -> None:
    """How fast, how much energy, how much silicon: a model, made sparse, on an accelerator.

    Exit codes: 0 fine, 1 a result outside a stated bound, 2 bad input, 3 a fault of codesign
    itself, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process) and return its exit code."""
    if COMPLETE in os.environ:
        root(prog_name="codesign", complete_var=COMPLETE)
    tolerate_encodings()
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        with root.make_context("codesign", given) as ctx:
            root.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return _flushed(stop.exit_code)
    except click.ClickException as error:
        _complain(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            _say(f"help: {error.ctx.command_path} --help")
        return BAD_INPUT
    except BrokenPipeError:
        return _silenced()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return INTERRUPTED
    except Exception as error:
        return _report(error)
    return 0


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _silenced()
    return code


def _silenced() -> int:
    """Keep the interpreter's last flush from complaining about a reader that went away."""
    with suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _report(error: Exception) -> int:
    from codesign.config import CodesignError

    debug = bool(os.environ.get(DEBUG))
    if debug:
        traceback.print_exc()
    if isinstance(error, CodesignError):
        _complain(str(error))
        return BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:
        _complain(f"{error.filename}: {error.strerror}")
        return BAD_INPUT
    _complain(
        f"codesign failed in a way that it should not ({type(error).__name__}: {error}). Sorry."
    )
    if not debug:
        _say(
            f"{DEBUG}=1 in the environment shows the traceback; please report it with the command."
        )
    return UNEXPECTED


def _complain(message: str) -> None:
    """Print a message of one or more lines as an error."""
    lines = message.splitlines() or [""]
    if len(lines) == 1:
        _say(f"error: {lines[0]}")
    else:
        _say(f"error: {len(lines)} faults\n" + "\n".join(f"  {line}" for line in lines))


def _say(text: str) -> None:
    """Print to standard error, control characters of user input made visible."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    click.echo(shown, err=True)
