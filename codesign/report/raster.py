"""Figures as PNG, drawn by the Chromium of this machine."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from codesign.config import CodesignError
from codesign.report.svg import Figure

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SCALE = 2
"""Pixels of the file for each pixel of the drawing."""
_TIMEOUT_S = 60
_FRAME_PX = 200
"""More than what the frame of a window takes of its height; what is left over is cut off."""


def write_png(drawn: Figure, path: Path) -> None:
    """Write a figure as a picture of twice its size in pixels.

    Raises CodesignError where there is no Chromium, or it fails.
    """
    found = next((file for name in _NAMES if (file := shutil.which(name))), None)
    if found is None:
        raise CodesignError("PNG figures need a Chromium, and none is installed; SVG needs nothing")
    text = drawn.standalone()
    width, height = (round(float(size)) for size in drawn.size_px)
    with tempfile.TemporaryDirectory(prefix="codesign-") as folder:
        source, target = Path(folder) / "figure.svg", Path(folder) / "figure.png"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [
                found,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--force-device-scale-factor={_SCALE}",
                f"--window-size={width},{height + _FRAME_PX}",
                f"--user-data-dir={folder}/profile",
                f"--screenshot={target}",
                source.as_uri(),
            ],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode or not target.exists():
            raise CodesignError(f"{found} drew no picture of {drawn.name}")
        path.write_bytes(cut(target.read_bytes(), height * _SCALE))


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Of the colour types with eight bits a channel."""


def cut(png: bytes, height: int) -> bytes:
    """The first rows of a PNG of eight bits a channel; rows are coded from the top down."""
    chunks = list(_chunks(png))
    width, _, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, rest[-1]) == (8, 0), "Chromium writes eight bits a channel, not interlaced"
    rows = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    kept = rows[: height * (1 + width * _CHANNELS[colour])]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, *rest)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(kept, 9)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += size + 12
