"""What does the server answer to requests that no browser would send, and to whom?"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("uvicorn")

from codesign.cli import main
from codesign.serve import server
from codesign.serve.folder import Folder
from codesign.serve.guard import Guard, host_name
from tests.serve.conftest import Address, serving

HOST = b"Host: localhost\r\n"


def send(address: Address, request: bytes, *, timeout_s: float = 10.0) -> bytes:
    """All that comes back until the server closes, or is silent for `timeout_s`."""
    with socket.create_connection(address, timeout=timeout_s) as connection:
        with suppress(OSError):
            connection.sendall(request)
        answer = b""
        with suppress(TimeoutError, ConnectionError):
            while part := connection.recv(1 << 16):
                answer += part
    return answer


def get(address: Address, target: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
    lines = "".join(f"{header}\r\n" for header in headers)
    request = f"GET {target} HTTP/1.1\r\nConnection: close\r\n{lines}".encode()
    host = b"" if any(h.lower().startswith("host:") for h in headers) else HOST
    head, _, body = send(address, request + host + b"\r\n").partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    return (
        int(first.split()[1]),
        {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in rest)},
        body,
    )


def alive(address: Address) -> None:
    status, _, body = get(address, "/api/studies")
    assert status == 200
    assert {s["name"] for s in json.loads(body)["studies"]} == {
        "broken.db",
        "deep/er.db",
        "toy.db",
    }


PIECES = st.sampled_from(
    [b"GET ", b"POST ", b"/", b"/api/points/", b"/study/", b"/report/", b"..", b"%2e%2e", b"%00",
     b"toy.db", b"secret.db", b" HTTP/1.1", b" HTTP/9.9", b"\r\n", b"\r\n\r\n", b"\n", b"\0",
     b"Host: localhost", b"Host: evil.example", b"Content-Length: 99999999999", b":", b"\xff\xfe",
     b"Transfer-Encoding: chunked", b"Upgrade: websocket", b"Connection: Upgrade", b"?since=nan",
     b"Content-Length: -1", b"A" * 3000, b"\x16\x03\x01"]
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=12))
def test_garbage_harms_nothing_and_reveals_nothing(address: Address, pieces: list[bytes]) -> None:
    answer = send(address, b"".join(pieces), timeout_s=0.1)
    assert b"secret" not in answer.replace(b"secret.db", b"")
    assert b"Traceback" not in answer
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    alive(address)


@settings(max_examples=60)
@given(
    st.sampled_from(["/api/points/", "/api/design/", "/study/", "/report/", "/static/", "/"]),
    st.lists(
        st.sampled_from(["..", "%2e%2e", "%2F", "%5c", "%00", "secret.db", "secret.html", "up",
                         "out.db", "etc", "%252e%252e", "~root", "notes.txt", "toy.db"])
        | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=6),
        max_size=6,
    ),
    st.sampled_from(["", "?since=x", "?since=1e999", "?since=nan&state=%00", "?key=%FF"]),
)  # fmt: skip
def test_no_path_leads_outside(address: Address, root: str, parts: list[str], query: str) -> None:
    target = root + "/".join(parts) + query
    status, headers, body = get(address, target)
    assert status in (200, 400, 404, 422), (target, status)
    assert body != b"secret"
    assert "default-src 'none'" in headers["content-security-policy"] or status == 400


@pytest.mark.parametrize(
    "target",
    ["/report/../secret.html", "/report/%2e%2e/secret.html", "/report/..%2fsecret.html",
     "/report/up/secret.html", "/report/%2Fetc/passwd", "/api/points/out.db",
     "/report/report.html%00", "/report/notes.txt", "/api/points/../secret.db",
     "//etc/passwd", "/static/..%2fapp.py", "/static/app.py", "/static/", "/report/", "/docs",
     "/report/..\\secret.html", "/static/../", "/static/../%2F", "/report/toy.db",
     "/api/points/report.html"],
)  # fmt: skip
def test_what_is_not_shown_is_404(address: Address, target: str) -> None:
    status, headers, body = get(address, target)
    assert status == 404
    assert b"secret" not in body
    assert headers["x-content-type-options"] == "nosniff"


def test_pages_are_whole_and_come_with_their_policy(address: Address) -> None:
    for target in ("/", "/study/toy.db", "/static/study.js", "/static/report.css"):
        status, headers, body = get(address, target)
        assert (status, int(headers["content-length"])) == (200, len(body))
        assert "script-src 'self'" in headers["content-security-policy"]
        assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in body
    _, headers, body = get(address, "/report/report.html")
    assert body.endswith(b"report")
    assert headers["content-security-policy"].startswith("sandbox allow-scripts")
    status, _, body = get(address, "/api/design/toy.db?key=key0003")
    assert json.loads(body)["config"]["arch"]["name"] == "sat"
    assert get(address, "/api/design/toy.db?key=none")[0] == 422
    assert get(address, "/api/points/broken.db")[0] == 422
    assert get(address, "/api/points/toy.db?since=soon")[0] == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_other_methods_are_refused(address: Address, method: str) -> None:
    answer = send(address, f"{method} /api/points/toy.db HTTP/1.0\r\n".encode() + HOST + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"allow: GET, HEAD" in answer


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /?" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 421),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_odd_requests_have_their_status(address: Address, request_text: bytes, status: int) -> None:
    answer = send(address, request_text)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    alive(address)


@pytest.mark.parametrize("host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example",
     "localhost:80:80", "[::1", "", "a b"],
)  # fmt: skip
def test_a_foreign_name_that_points_here_is_not_served(address: Address, host: str) -> None:
    status, _, body = get(address, "/api/studies", f"Host: {host}")
    assert status in (400, 421)
    assert b"toy.db" not in body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8", "[::1]"])
def test_names_of_this_machine_are_served(address: Address, host: str) -> None:
    assert get(address, "/api/studies", f"Host: {host}")[0] == 200


@given(st.text(max_size=30))
def test_a_host_is_read_as_a_name_and_a_port_or_not_at_all(text: str) -> None:
    name = host_name(text)
    assert name is None or text.startswith((name, f"[{name}]"))


def test_a_websocket_is_not_opened(address: Address) -> None:
    answer = send(
        address,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        timeout_s=0.5,
    )
    assert not answer.startswith(b"HTTP/1.1 101")
    asyncio.run(Guard(None, host="localhost")({"type": "websocket"}, None, None))  # type: ignore[arg-type]


def test_silent_and_slow_connections_are_closed(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE_S", 0.3)
    made = server.make_server(Folder.at(runs), host="127.0.0.1")
    bound = server.listen("127.0.0.1", 0)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        address = bound.getsockname()
        silent = socket.create_connection(address, timeout=10)
        slow = socket.create_connection(address, timeout=10)
        closed = False
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        for _ in range(40):
            time.sleep(0.05)
            try:
                slow.sendall(b"a")
            except OSError:
                closed = True
                break
        assert closed
        assert silent.recv(1) == b""
        assert get(address, "/")[0] == 200
    finally:
        made.should_exit = True
        thread.join()


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") else found


def test_other_machines_are_not_served_unless_asked(address: Address, runs: Path) -> None:
    assert address[0] == "127.0.0.1"
    outside = own_address()
    if outside is None:
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(OSError):
        socket.create_connection((outside, address[1]), timeout=5)
    opened = serving(runs, "--host", "0.0.0.0")
    with opened as (_, port):
        assert get((outside, port), "/", f"Host: {outside}:{port}")[0] == 200
        assert get((outside, port), "/", "Host: evil.example")[0] == 421
    assert "everyone who can reach 0.0.0.0" in opened.errors


def test_the_command_says_what_is_wrong(
    runs: Path,
    address: Address,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["serve", str(runs / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["serve", str(runs), "--port", str(address[1])]) == 2
    assert "--port 0" in capsys.readouterr().err
    assert main(["serve", str(runs), "--host", "203.0.113.7", "--port", "0"]) == 2
    assert "cannot listen on 203.0.113.7" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "codesign.serve.server", None)
    assert main(["serve", str(runs)]) == 2
    assert "pip install 'codesign[serve]'" in capsys.readouterr().err
