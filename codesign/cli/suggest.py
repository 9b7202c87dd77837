"""Verbs and choices that answer a wrong word with the nearest right one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import click
from click.shell_completion import CompletionItem


def unknown(what: str, word: str, candidates: Sequence[str]) -> str:
    """The message for a word that is none of the candidates."""
    from codesign.config import suggestion

    meant = suggestion(word, candidates)
    return f"no {what} {shortened(word)!r}{meant} (there are {', '.join(candidates)})"


def shortened(word: str) -> str:
    """The word, or the beginning of a very long one."""
    return word if len(word) <= 60 else word[:57] + "..."


class VerbGroup(click.Group):
    """A group that suggests the verb that was meant, and shows its help when none is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            raise click.UsageError(unknown("verb", word, self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)


class ShippedName(click.types.StringParamType):
    """A name of what ships in a folder of the package, or a file; shells complete both."""

    def __init__(self, folder: Literal["arch_configs", "workloads"]) -> None:
        self.folder = folder

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from codesign.config import shipped

        names = sorted(path.stem for path in shipped(self.folder).glob("*.yaml"))
        near = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return near or [CompletionItem(incomplete, type="file")]


class MachineName(ShippedName):
    """A machine's name or file."""

    def __init__(self) -> None:
        super().__init__("arch_configs")

    def get_missing_message(
        self,
        param: click.Parameter,
        ctx: click.Context | None = None,
    ) -> str:
        return "`codesign arch list` names the machines."


class Count(click.IntRange):
    """A whole number within bounds."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        least, most = self.min or 0, self.max if self.max is not None else 2**63 - 1
        if not (text.isascii() and text.isdecimal()) or not least <= int(text[:20]) <= most:
            self.fail(f"{shortened(text)!r} is no whole number from {least} to {most}", param, ctx)
        return int(text)


class Counts(click.ParamType[tuple[int, ...]]):
    """Whole numbers within bounds, joined by commas; they come back in rising order, once each."""

    name = "counts"

    def __init__(self, least: int, most: int, *, at_most: int = 64) -> None:
        self.one, self.at_most = Count(least, most), at_most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if len(words) > self.at_most:
            self.fail(f"{len(words)} numbers are more than {self.at_most}", param, ctx)
        return tuple(sorted({self.one.convert(word, param, ctx) for word in words}))


class Share(click.ParamType[float]):
    """A fraction from 0 to 1; percent are answered with it."""

    name = "fraction"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value).strip()
        number = text.removesuffix("%").rstrip()
        try:
            share = float(number)
        except ValueError:
            self.fail(f"{shortened(text)!r} is no number from 0 to 1, such as 0.01", param, ctx)
        if number != text or not 0 <= share <= 1:
            meant = f"; did you mean {share / 100:g}?" if 0 <= share <= 100 else ""
            self.fail(f"{shortened(text)!r} is no number from 0 to 1{meant}", param, ctx)
        return share


class OneOf(click.Choice[str]):
    """One of a few words; a wrong one is answered with the nearest."""

    def __init__(self, *words: str, what: str) -> None:
        super().__init__(words)
        self.what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(unknown(self.what, str(value), self.choices), param, ctx)
        return str(value)
