"""What stands before the pages: which requests are answered at all, and with which headers."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""For reports: their own script runs, in an origin of its own that can ask for nothing."""
_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_LONGEST_TARGET = 4096
LONGEST_HEAD_BYTES = 16 * 1024


class Guard:
    """An ASGI application before another: GET and HEAD without a body, for a name of this machine.

    A web page of elsewhere may let its own name point here (DNS rebinding); it is answered 421,
    since the Host that browsers then send is neither an address nor a name of this machine.
    """

    def __init__(self, app: App, *, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower()}
        if not is_loopback(host):
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                own = [(name, text) for name, text in _HEADERS.items() if name not in given]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, with_headers)
            return
        status, text = refusal
        body = b"" if scope["method"] == "HEAD" else text.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text.encode())).encode()),
            (b"connection", b"close"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await with_headers({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        headers = [(name.lower(), text) for name, text in scope["headers"]]
        hosts = [text.decode("latin-1") for name, text in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return 421, "this address is not served here\n"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "only GET and HEAD\n"
        if len(scope["raw_path"]) + len(scope["query_string"]) > _LONGEST_TARGET:
            return 414, "the address is too long\n"
        if sum(len(name) + len(text) for name, text in headers) > LONGEST_HEAD_BYTES:
            return 431, "the headers are too long\n"
        sized = dict(headers)
        if b"transfer-encoding" in sized or sized.get(b"content-length", b"0").strip(b"0"):
            return 413, "a request has no body\n"
        return None

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        return name is not None and (name.lower() in self._names or _is_address(name))


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port; None for what is no such header.

    >>> host_name("[::1]:8765"), host_name("localhost:80"), host_name("a:b:c")
    ('::1', 'localhost', None)
    """
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        colon, port = port[:1], port[1:]
        good = bool(bracket) and colon in ("", ":")
    else:
        name, colon, port = host.partition(":")
        good = bool(name)
    if not good or (colon and not (port.isascii() and port.isdigit())):
        return None
    return name


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host.lower() == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
