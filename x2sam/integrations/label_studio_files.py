"""Media of Label Studio's tasks: from the one server that the operator named, and from nowhere else by itself."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from x2sam.errors import InputError, MediaError
from x2sam.serve.fetch import fetch
from x2sam.serve.limits import Limits
from x2sam.serve.uploads import embedded, too_many_bytes

SECONDS = 30.0
CLOUD = ("s3://", "gs://", "azure-blob://")
"""Addresses that Label Studio resolves itself."""


class LabelStudioServer:
    """The Label Studio that tasks come from.

    Args:
        url: where this process reaches it, such as ``http://localhost:8080``.
        key: an access token of either kind (personal or legacy); empty: the one that it hands over when the backend is
            connected, if it does.
    """

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise InputError(f"Got {url[:200]!r} for a Label Studio", "an address such as http://localhost:8080")
        self.url = url.rstrip("/")
        self.key = key
        self._lock = threading.Lock()

    def hand_over(self, key: Any) -> None:
        """Take the token that comes with /setup, unless the operator has given one."""
        with self._lock:
            if not self.key and isinstance(key, str) and len(key) < 10_000:
                self.key = key

    def owns(self, address: str) -> bool:
        """Whether an address is this server's."""
        theirs, ours = urlsplit(address), urlsplit(self.url)
        return (theirs.scheme, theirs.netloc) == (ours.scheme, ours.netloc)

    def media(self, address: Any, task: Any, limits: Limits, path: Path) -> Path | bytes:
        """A task's medium: bytes, or a file written to ``path``. Raises InputError, MediaError, TooLarge."""
        if not isinstance(address, str) or not address:
            raise InputError(f"Got {address!r:.80} for a task's medium", "an address", "See the interface's value=")
        if address[:5].lower() == "data:":
            return embedded(address)
        if address.startswith(CLOUD):
            code = base64.urlsafe_b64encode(address.encode()).decode()
            return self._download(f"{self.url}/tasks/{task}/resolve/?fileuri={code}", limits, path)
        if address.startswith("/"):
            return self._download(self.url + address, limits, path)
        if self.owns(address):
            return self._download(address, limits, path)
        if not address.lower().startswith(("http://", "https://")):
            raise InputError(f"Got {address[:200]!r} for a task's medium", "a file of Label Studio, or http(s)://")
        if not limits.fetch_urls:
            where = f"a medium that {self.url} serves"
            raise InputError(f"Got {address[:200]}", where, "Start with --limit fetch_urls=1 to fetch from others")
        return fetch(address, limits)

    def _download(self, address: str, limits: Limits, path: Path) -> Path | bytes:
        """A file of the server; where it leads elsewhere, that is fetched as any public address is."""
        try:
            client = httpx.Client(timeout=SECONDS, trust_env=False, headers=self._headers())
            with client, client.stream("GET", address) as answer:
                if answer.is_redirect:
                    target = urljoin(address, answer.headers["location"])
                    if self.owns(target):
                        raise MediaError(f"Got {address[:200]}, which asks for a login", "a token", _KEY)
                    return fetch(target, limits)
                if answer.status_code in (401, 403):
                    raise MediaError(f"Got {address[:200]}, which may not be read", "a token", _KEY)
                answer.raise_for_status()
                return _kept(answer, limits, path)
        except httpx.HTTPStatusError as error:
            why = f"it says {error.response.status_code}"
        except httpx.HTTPError as error:
            why = type(error).__name__
        raise MediaError(f"Got {address[:200]}, which cannot be fetched ({why})", "a medium that Label Studio serves")

    def _headers(self) -> dict[str, str]:
        """Who asks. A personal token is changed for one that lasts minutes; a legacy one is sent as it is."""
        if not self.key:
            return {}
        if self.key.count(".") != 2:
            return {"Authorization": f"Token {self.key}"}
        answer = httpx.post(
            f"{self.url}/api/token/refresh", json={"refresh": self.key}, timeout=SECONDS, trust_env=False
        )
        if answer.status_code != 200:
            raise MediaError(f"Got a token that {self.url} does not take", "one of its access tokens", _KEY)
        return {"Authorization": f"Bearer {answer.json()['access']}"}


_KEY = "Set LABEL_STUDIO_API_KEY to a token of Label Studio's account page"


def _kept(answer: httpx.Response, limits: Limits, path: Path) -> Path:
    got = 0
    with path.open("wb") as file:
        for chunk in answer.iter_bytes():
            got += len(chunk)
            if got > limits.upload_bytes:
                raise too_many_bytes(limits.upload_bytes)
            file.write(chunk)
    return path
