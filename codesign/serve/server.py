"""The web server: bound to one address, patient with no one for long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from codesign.config import CodesignError
from codesign.serve.app import application
from codesign.serve.folder import Folder
from codesign.serve.guard import LONGEST_HEAD_BYTES

SILENCE_S = 20.0
"""A connection that has asked for nothing whole for so long is closed."""
_MOST_CONNECTIONS = 200


class _Impatient(H11Protocol):
    """Closes connections on which no whole request has come for a while."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._asked: object = None
        self._look_again()

    def _look_again(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(SILENCE_S, self._look)

    def _look(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is self._asked and not busy:
            self.transport.close()
            return
        self._asked = self.cycle
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises CodesignError where the address is not of this machine or is taken.
    """
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such address"
        hint = "; --port 0 takes a free one" if "in use" in reason else ""
        raise CodesignError(f"cannot listen on {host} port {port}: {reason}{hint}") from None
    return bound


def make_server(folder: Folder, *, host: str) -> uvicorn.Server:
    """A server of a folder's pages; its `run` takes the sockets."""
    config = uvicorn.Config(
        application(folder, host=host),
        http=_Impatient,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=LONGEST_HEAD_BYTES,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve(folder: Folder, bound: socket.socket, *, host: str, ready: Callable[[], None]) -> None:
    """Serve a folder on a bound socket until the process is interrupted; `ready` is called once."""
    with closing(bound):
        ready()
        make_server(folder, host=host).run(sockets=[bound])
