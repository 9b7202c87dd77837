"""The addresses of the page and what each answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

import codesign.report
from codesign.config import CodesignError
from codesign.report.tables import finite
from codesign.serve import studies
from codesign.serve.folder import REPORTS, STORES, Folder, RefusedError
from codesign.serve.guard import REPORT_POLICY, App, Guard

_STATIC = Path(__file__).parent / "static"
_LOOK = Path(codesign.report.__file__).parent / "templates" / "report.css"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def application(folder: Folder, *, host: str = "127.0.0.1") -> App:
    """The ASGI application that shows a folder; `host` is the address that it is bound to."""

    def named(request: Request, endings: tuple[str, ...]) -> Path:
        return folder.find(request.path_params["name"], endings)

    def index(_: Request) -> Response:
        return _file("index.html")

    def study_page(request: Request) -> Response:
        named(request, STORES)
        return _file("study.html")

    def static(request: Request) -> Response:
        return _file(request.path_params["name"])

    def listing(_: Request) -> Response:
        return _json(
            {
                "folder": str(folder.root),
                "studies": studies.overview(folder),
                "reports": folder.names(REPORTS),
            }
        )

    def points(request: Request) -> Response:
        asked = request.query_params
        try:
            since = float(asked.get("since", 0.0))
        except ValueError:
            raise HTTPException(400, "since is a time in seconds\n") from None
        path = named(request, STORES)
        return _json(studies.points(path, state=asked.get("state", ""), since=since))

    def design(request: Request) -> Response:
        path = named(request, STORES)
        return _json(studies.design(path, request.query_params.get("key", "")))

    def report(request: Request) -> Response:
        return FileResponse(
            named(request, REPORTS),
            media_type="text/html",
            headers={"content-security-policy": REPORT_POLICY},
        )

    routes = [
        Route("/", index),
        Route("/study/{name:path}", study_page),
        Route("/static/{name}", static),
        Route("/api/studies", listing),
        Route("/api/points/{name:path}", points),
        Route("/api/design/{name:path}", design),
        Route("/report/{name:path}", report),
    ]
    answers: Mapping[Any, Any] = {
        RefusedError: _refused,
        CodesignError: _unreadable,
        HTTPException: _http_error,
        OSError: _gone,
    }
    app = Starlette(routes=routes, exception_handlers=answers)
    app.router.redirect_slashes = False
    return Guard(app, host=host)


def _file(name: str) -> Response:
    """A file of this package; the look is that of reports."""
    path = _LOOK if name == "report.css" else _STATIC / name
    kind = _KINDS.get(path.suffix)
    if kind is None or name not in {*_files(), "report.css"}:
        raise RefusedError("no such file")
    return Response(path.read_bytes(), media_type=kind)


def _files() -> set[str]:
    return {path.name for path in _STATIC.iterdir()}


def _json(value: object) -> Response:
    """As JSON that browsers read: numbers that are not finite become null."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        text = json.dumps(finite(value), allow_nan=False)
    return Response(text.encode("utf-8", "replace"), media_type="application/json")


def _refused(_: Request, __: Exception) -> Response:
    return PlainTextResponse("there is nothing here\n", 404)


def _unreadable(_: Request, error: Exception) -> Response:
    response = _json({"problem": str(error)})
    response.status_code = 422
    return response


def _gone(_: Request, error: Exception) -> Response:
    return PlainTextResponse("the file cannot be read\n", 404)


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code)
