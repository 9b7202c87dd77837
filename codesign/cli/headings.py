"""Headings of columns that hold dotted paths: short, still different, in narrow lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

WIDTH = 8
"""Letters of a heading's line, where its words allow."""


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """For each path its last part; where others end alike, the last part that they do not share.

    >>> list(short_names(["arch.array.rows", "arch.maps.bytes", "arch.weights.bytes"]).values())
    ['rows', 'maps', 'weights']
    """
    parts = {path: path.split(".") for path in paths}
    telling = {}
    for path, own in parts.items():
        others = [each for other, each in parts.items() if other != path]
        fewest = next(
            n
            for n in range(1, len(own) + 1)
            if n == len(own) or all(each[-n:] != own[-n:] for each in others)
        )
        telling[path] = own[-fewest]
    names = list(telling.values())
    return {path: name if names.count(name) == 1 else path for path, name in telling.items()}


def in_lines(name: str, width: int = WIDTH) -> str:
    """A name broken behind its dots and underscores into lines of about `width` letters.

    >>> in_lines("input.capacity_bytes")
    'input.\\ncapacity\\nbytes'
    """
    lines = [""]
    for word in re.findall(r"[^._]*[._]*", name):
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip("_") for line in lines)


def legend(short: Mapping[str, str]) -> str:
    """Which paths the short names stand for, where they are shorter."""
    cut = [f"{name} is {path}" for path, name in short.items() if name != path]
    return "; ".join(cut)
