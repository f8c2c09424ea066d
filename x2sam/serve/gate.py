"""Who may come in, and with how much: token, host, origin, bytes, seconds; and what is counted of it."""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import time
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from x2sam.errors import X2SamError
from x2sam.serve.jobs import Busy
from x2sam.serve.limits import Limits

if TYPE_CHECKING:
    from x2sam.serve.store import Store

COOKIE = "x2sam_token"
VISITOR, VISITOR_FORM = "x2sam_visitor", re.compile(r"[\w-]{32}")
"""The cookie by which the page's visitors are told apart, and what its values look like."""
OPEN = ("/healthz", "/readyz")
"""Paths that need no token."""
METHODS = ("GET", "POST", "DELETE", "OPTIONS", "HEAD", "WEBSOCKET")
"""Those that are counted by name; a client may invent others without end."""
LOCAL = ("127.0.0.1", "::1", "localhost", "testserver")
"""Names of this machine; ``testserver`` is what test clients say, and no name that a browser could reach."""
CHUNK_SECONDS = 30.0
"""A body of which nothing comes for so long is given up."""
BODY_SECONDS = 900.0
"""So is one that is not whole after so long."""
REQUESTS = 512
"""Requests that are answered at once."""


class Denied(X2SamError):  # noqa: N818
    """The wrong token, host or origin."""

    def __init__(self, got: str, expected: str, hint: str = "", status: int = 403) -> None:
        self.status = status
        super().__init__(got, expected, hint)


def failure(error: X2SamError, status: int) -> JSONResponse:
    """An error as every refusal looks."""
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": error_parts(error)}, status, headers)


def error_parts(error: X2SamError) -> dict[str, str]:
    """What an error says, in letters that can be sent."""
    parts = {"got": error.got, "expected": error.expected, "hint": error.hint, "message": str(error)}
    return {name: text.encode("utf-8", "replace").decode() for name, text in parts.items()}


def client_of(scope: Scope) -> str:
    """For whom a request is: a visitor of the page, by a cookie that nobody can guess, or else an address.

    A program on this machine, such as a proxy, may say more of whom it asks for.
    """
    if own := visitor(scope):
        return f"visitor {own}"
    address = (scope.get("client") or ("local", 0))[0]
    name = Headers(scope=scope).get("x-client", "")[:64]
    return f"{address} {name}" if name and address in (*LOCAL, "testclient") else str(address)


def visitor(scope: Scope) -> str:
    """What the page's cookie says, if it is one that the page has set."""
    text = cookie(scope, VISITOR)
    return text if VISITOR_FORM.fullmatch(text) else ""


def cookie(scope: Scope, name: str) -> str:
    """The value of a cookie; empty: there is none."""
    try:
        found = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


class Metrics:
    """What /metrics shows, in the text form of Prometheus."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("x2sam_requests", "Requests answered", labels, registry=self.registry)
        self.seconds = Histogram("x2sam_request_seconds", "Seconds to answer", labels[:2], registry=self.registry)
        worker, process = store.worker, psutil.Process()
        for name, text, value in (
            ("x2sam_queue_length", "Jobs that wait or run", lambda: worker.queue),
            ("x2sam_jobs_done", "Jobs that have ended", lambda: worker.done),
            ("x2sam_step_seconds", "Running mean of a step", lambda: worker.step_seconds),
            ("x2sam_batched_items", "Pictures that shared a run", lambda: _batched(worker.batches)),
            ("x2sam_sessions", "Media that are open", lambda: len(store)),
            ("x2sam_memory_bytes", "Resident memory", lambda: process.memory_info().rss),
        ):
            Gauge(name, text, registry=self.registry).set_function(value)


def _batched(batches: dict[int, int]) -> int:
    return sum(size * count for size, count in list(batches.items()) if size > 1)


class Gate:
    """ASGI middleware in front of everything, the page included.

    local: the service is for this machine alone and asks for no token; then only requests that name this machine as
        their host are let in, so that no web page can reach it under a name of its own.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, token: str | None, local: bool, origins: tuple[str, ...], metrics: Metrics
    ) -> None:
        self.app, self.limits, self.token, self.local = app, limits, token, local
        self.origins, self.metrics = origins, metrics
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        self._running += 1
        try:
            answer = self._refusal(scope)
            if answer is not None:
                await answer(scope, receive, counted)
            else:
                await self.app(scope, self._limited(scope, receive), counted)
        finally:
            self._running -= 1
            route = getattr(scope.get("route"), "path", "other")
            method = scope.get("method", "WEBSOCKET")
            method = method if method in METHODS else "other"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.seconds.labels(method, route).observe(time.monotonic() - begun)

    def _refusal(self, scope: Scope) -> Any:
        """What to say instead of an answer; None: come in."""
        headers = Headers(scope=scope)
        try:
            self._check_place(headers)
            if (redirect := self._login(scope)) is not None:
                return redirect
            self._check_token(scope, headers)
            if self._running > REQUESTS:
                raise Busy(f"Got a request while {self._running} are answered", f"at most {REQUESTS}")
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > self._most(headers):
                raise HTTPException(413)
        except Denied as error:
            return failure(error, error.status)
        except Busy as error:
            return failure(error, 429)
        except HTTPException:
            return failure(too_large(self._most(headers)), 413)
        return None

    def _check_place(self, headers: Headers) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _split(f"//{host}").hostname if "@" not in host else None
        if self.local and name not in LOCAL:
            raise Denied(f"Got a request for {host!r}", "localhost", "Set a token to serve under another name")
        if origin and origin not in self.origins and _split(origin).netloc != host:
            raise Denied(f"Got a request from the page {origin!r}", "this service's own page", "See --origin")

    def _login(self, scope: Scope) -> Any:
        """``/?token=...`` lets a browser in: the token moves into a cookie."""
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if not self.token or scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/" or not given:
            return None
        if not self._right(given):
            raise Denied("Got the wrong token", "the one of this service", status=401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, quote(given), httponly=True, samesite="strict")
        return answer

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        if not self.token or scope["path"] in OPEN or scope.get("method") == "OPTIONS":
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._right(given.strip()):
            return
        if kind.lower() == "basic" and self._right(_password(given)):
            return
        if not hmac.compare_digest(cookie(scope, COOKIE).encode(), quote(self.token).encode()):
            raise Denied("Got no token, or the wrong one", "Authorization: Bearer TOKEN", status=401)

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), (self.token or "").encode())

    def _most(self, headers: Headers) -> int:
        form = headers.get("content-type", "").lower().startswith("multipart/")
        return self.limits.upload_bytes + 2**20 if form else self.limits.json_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The same body, which ends with an error where it grows too long or stops coming."""
        if scope["type"] != "http":
            return receive
        most, got, more = self._most(Headers(scope=scope)), 0, True
        end = time.monotonic() + BODY_SECONDS

        async def limited() -> Message:
            nonlocal got, more
            try:
                wait = min(CHUNK_SECONDS, end - time.monotonic())
                message = await (asyncio.wait_for(receive(), wait) if more else receive())
            except asyncio.TimeoutError:
                raise HTTPException(408, "Got a body that stopped coming, or comes too slowly") from None
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                more = message.get("more_body", False)
                if got > most:
                    raise HTTPException(413, str(too_large(most)))
            return message

        return limited


def _split(address: str) -> SplitResult:
    """The parts of an address; none of what is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _password(given: str) -> str:
    """Of a user and a password in base64, as tools send them that know no other way; empty where it is neither."""
    try:
        return base64.b64decode(given, validate=True).decode("utf-8", "replace").partition(":")[2]
    except ValueError:
        return ""


def too_large(most: int) -> X2SamError:
    """What to say to a body of more than ``most`` bytes."""
    return X2SamError(
        "Got a body that is too large", f"at most {most / 2**20:.3g} MB", "Send large media as multipart/form-data"
    )
