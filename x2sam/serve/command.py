"""``x2sam serve``: bind, load a model, serve until told to stop. Slow imports wait until the port answers."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from x2sam.errors import InputError
from x2sam.serve.front import Front
from x2sam.serve.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

SHORTEST_TOKEN = 8


def serve(
    model: str,
    device: str,
    dtype: str,
    host: str,
    port: int,
    token: str | None,
    origins: Sequence[str],
    settings: Sequence[str],
    extensions: Sequence[Callable[[FastAPI], None]] = (),
) -> None:
    """Serve a model until SIGTERM or SIGINT; then what runs may finish for a while, and the rest is refused.

    Raises InputError for a bind that others can reach without a token, a port that is taken, a limit that is none.
    """
    limits = read_limits(settings)
    check_bind(host, token)
    with bound(host, port) as listener:  # before the model is loaded, so that a mistake is told at once
        name, number = listener.getsockname()[:2]
        where = f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"

        def make() -> FastAPI:
            from x2sam.predictor import X2Sam
            from x2sam.serve.api import create_app

            predictor = X2Sam.from_pretrained(model, device=device, dtype=dtype)
            return create_app(predictor, limits, token, is_local(host), tuple(origins), extensions=extensions)

        def ready() -> None:
            assert front.app is not None
            tell(f"{front.app.state.predictor.name} at {where} (reference at /docs)")

        def failed() -> None:
            server.should_exit = True

        front = Front(make, ready, failed)
        config = uvicorn.Config(
            front,
            log_level="warning",
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=int(limits.finish_seconds) + 5,
        )
        server = Server(config, front.stop)
        tell(f"loading {model} at {where}")
        server.run(sockets=[listener])
    if front.error is not None:
        raise front.error


def tell(text: str) -> None:
    """To whoever has started it."""
    print(f"x2sam: {text}", file=sys.stderr, flush=True)


class Server(uvicorn.Server):
    """Stops the work while open connections still wait for it, so that each of them gets an answer."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal does not wait."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        stopping = asyncio.create_task(asyncio.to_thread(self._stop))
        await super().shutdown(sockets)
        await stopping


def is_local(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str, token: str | None) -> None:
    """Raise InputError for a service that anybody could use."""
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise InputError(f"Got a token of {len(token)} letters", f"at least {SHORTEST_TOKEN}")
    if token is None and not is_local(host):
        raise InputError(
            f"Got the host {host}, which other machines can reach, without a token",
            "a secret that clients must show",
            "Set X2SAM_TOKEN or --token, or leave --host out to serve this machine alone",
        )


def bound(host: str, port: int) -> socket.socket:
    """A socket on this address. Raises InputError where it cannot be had."""
    try:
        if not 0 <= port < 2**16:  # some systems would take what is left of it
            raise OverflowError("no port has this number")
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"Got {host}:{port}, which cannot be served ({reason})", "a free port of this machine", "Try another --port"
        ) from None
    return listener


def read_limits(settings: Sequence[str]) -> Limits:
    """``name=number`` for each limit that differs. Raises InputError."""
    limits = Limits()
    known = {field.name: type(getattr(limits, field.name)) for field in fields(Limits)}
    for text in settings:
        name, _, value = text.partition("=")
        try:
            limits = replace(limits, **{name: known[name](int(value) if known[name] is bool else value)})
        except (KeyError, ValueError):
            raise InputError(f"Got the limit {text!r}", f"name=number with one of: {', '.join(known)}") from None
    return limits
