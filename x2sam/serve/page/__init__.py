"""The web page: static files that run in the browser on the routes of `routes.py` and `work_routes.py`.

No build step and no other server: what lies in this folder is what the browser gets.
"""

from __future__ import annotations

import secrets
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, Response

from x2sam.serve.gate import VISITOR, client_of, visitor
from x2sam.serve.page import examples
from x2sam.serve.routes import describe
from x2sam.serve.schemas import SessionOut
from x2sam.serve.store import Unknown
from x2sam.serve.web import aside

HERE = FilePath(__file__).parent
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {file.name: file for file in HERE.iterdir() if file.suffix in TYPES}
"""Everything that is answered with; no other path is ever opened."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""What the page may load: nothing but its own files."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
VISITOR_SECONDS = 30 * 86_400

router = APIRouter(include_in_schema=False)


def sent(name: str) -> FileResponse:
    """One of the page's files."""
    if name not in FILES:
        raise Unknown(f"Got the file {name[:80]!r}", "one of the page's")
    return FileResponse(FILES[name], media_type=TYPES[FILES[name].suffix], headers=HEADERS)


@router.get("/")
async def page(request: Request) -> Response:
    """The page; its visitor gets a cookie by which their work is found again."""
    answer = sent("index.html")
    own = visitor(request.scope) or secrets.token_urlsafe(24)
    secure = request.url.scheme == "https"
    answer.set_cookie(VISITOR, own, VISITOR_SECONDS, httponly=True, samesite="strict", secure=secure)
    return answer


@router.get("/favicon.ico")
async def icon() -> Response:
    """Browsers ask for it."""
    return sent("icon.svg")


@router.get("/page/{name}")
async def file(name: str) -> Response:
    """A file of the page."""
    return sent(name)


@router.get("/page/examples/list")
async def list_examples(request: Request) -> list[dict[str, str | int]]:
    """What there is to try the page with."""
    return [{"index": i, "title": e.title, "prompt": e.prompt} for i, e in enumerate(examples.available())]


@router.get("/page/examples/{index}")
async def thumbnail(request: Request, index: Annotated[int, Path(ge=0)]) -> Response:
    """A small picture of an example."""
    gallery = examples.gallery(request.app.state.store.folder / "examples")
    return FileResponse(await aside(request, gallery.thumbnail, index), headers={"Cache-Control": "max-age=86400"})


@router.post("/page/examples/{index}", status_code=201)
async def open_example(request: Request, index: Annotated[int, Path(ge=0)]) -> SessionOut:
    """An example as a session."""
    store = request.app.state.store
    path = await aside(request, examples.gallery(store.folder / "examples").file, index)
    return describe(await aside(request, store.open, client_of(request.scope), path, path.name))
