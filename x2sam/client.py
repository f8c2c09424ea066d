"""A client of the service, in the package's own types: what it answers draws and saves as if it were computed here.

client = Client("http://127.0.0.1:7860")
client.segment("photo.jpg", "the rabbit").save("rabbit.png")
for frame in client.track("clip.mp4", "the skater"): ...
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from x2sam.errors import InputError, MissingExtraError, X2SamError
from x2sam.marks import plain, read_regions
from x2sam.masks import RLE
from x2sam.media.opening import Clip, Source, open_media
from x2sam.results.export import FORMATS, default_name
from x2sam.results.result import Result
from x2sam.types import Condition, FrameResult, Prompt, Segment

try:
    import httpx
except ImportError:
    raise MissingExtraError("httpx", "serve") from None


class ServiceError(X2SamError):
    """A refusal of the service; ``status`` is the HTTP status."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        self.status = status
        super().__init__(error.get("got", f"Got the status {status}"), error.get("expected", ""), error.get("hint", ""))


class Client:
    """A service at ``url``.

    token: what the service asks for. timeout: seconds without a sign of life from it.
    """

    def __init__(self, url: str = "http://127.0.0.1:7860", token: str | None = None, timeout: float = 600.0) -> None:
        headers = {"X-Client": secrets.token_hex(8)}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        secure = url.lower().startswith("https")  # reading the certificates takes a while
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=httpx.Timeout(timeout, connect=30.0), verify=secure
        )

    def segment(
        self,
        image: Source,
        prompt: str | Sequence[str] | None = None,
        regions: Any = None,
        task: str | None = None,
        **options: Any,
    ) -> Result:
        """Segment an image or a short clip; the arguments are those of `X2Sam.segment`.

        Raises ServiceError for what the service refuses.
        """
        clip, content = readable(image)
        fields = _asking(prompt, regions, task, options, clip.size)
        answer = self._json("POST", "/v1/segment", files={"file": (clip.name, content)}, data=_form(fields))
        return _result(answer, clip)

    def open(self, media: Source) -> Remote:
        """Open a medium for several prompts; close it after use (``with``)."""
        clip, content = readable(media)
        answer = self._json("POST", "/v1/sessions", files={"file": (clip.name, content)})
        return Remote(self, answer["id"], clip)

    def track(
        self,
        video: Source,
        prompt: str | Sequence[str] | None = None,
        regions: Any = None,
        task: str | None = None,
        **options: Any,
    ) -> Iterator[FrameResult]:
        """A result for every frame as it is done. Leaving the loop ends the work."""
        with self.open(video) as session:
            session.start(prompt, regions, task, **options)
            yield from session.frames()

    def chat(
        self,
        media: Source,
        messages: str | Sequence[dict[str, str]],
        on_text: Callable[[str], None] | None = None,
        max_new_tokens: int = 512,
    ) -> Result:
        """Answer in words; ``on_text`` is called with every new piece."""
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(m) for m in messages]
        with self.open(media) as session:
            clip = session.clip
            body = {"messages": turns, "session": session.id, "max_tokens": max_new_tokens, "stream": True}
            pieces: list[str] = []
            frames: list[dict[str, Any]] = []
            for _, chunk in self._events("POST", "/v1/chat/completions", json=body):
                delta = chunk["choices"][0]["delta"]
                frames += delta.get("masks", [])
                if delta.get("content"):
                    pieces.append(delta["content"])
                    if on_text is not None:
                        on_text(pieces[-1])
        task = "vid_chat" if clip.kind == "video" else "img_chat"
        found = tuple(_frame(frame) for frame in frames)
        return Result(task, "".join(pieces), found, Prompt(text=str(turns[-1].get("content", ""))), clip)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- http -------------------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from None
        _check(answer)
        return answer

    def _json(self, method: str, path: str, **content: Any) -> Any:
        return self._request(method, path, **content).json()

    def _events(self, method: str, path: str, **content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and data of server-sent events; an error among them is raised."""
        try:
            with self._http.stream(method, path, **content) as answer:
                if answer.is_error:
                    answer.read()
                    _check(answer)
                name = "message"
                for line in answer.iter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data" and value != "[DONE]":
                        data = json.loads(value)
                        if "error" in data:
                            raise ServiceError(data["error"].get("status", 0), data["error"])
                        yield name, data
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from None


class Remote:
    """A medium that is open at the service."""

    def __init__(self, client: Client, id: str, clip: Clip) -> None:
        self.id, self.clip = id, clip
        self._client, self._path = client, f"/v1/sessions/{id}"

    def start(self, prompt: Any = None, regions: Any = None, task: str | None = None, **options: Any) -> Result:
        """Begin anew with a prompt; of an image the answer is there at once. As `Session.track`."""
        return self._prompt("start", _asking(prompt, regions, task, options, self.clip.size))

    def add(self, prompt: Any = None, regions: Any = None, task: str | None = None, **where: Any) -> Result:
        """Follow more; ``where``: frame, backward, until, as in `Track.add`. The frames that changed."""
        return self._prompt("add", {**_asking(prompt, regions, task, {}, self.clip.size), **where})

    def correct(self, object_id: int, regions: Any, **where: Any) -> Result:
        """Show an object again; ``where``: frame, backward, until, as in `Track.correct`. The frames that changed."""
        shown = _asking(None, regions, None, {}, self.clip.size)
        return self._prompt("correct", {**shown, "object_id": object_id, **where})

    def remove(self, object_id: int) -> None:
        """Follow an object no longer."""
        self._prompt("remove", {"object_id": object_id})

    def frames(self, first: int = 0) -> Iterator[FrameResult]:
        """Results from frame ``first`` on, as they are done."""
        for name, data in self._client._events("GET", f"{self._path}/frames", params={"first": first}):
            if name == "frame":
                yield _frame(data)

    def export(self, format: str, folder: str | Path = ".") -> Path:
        """What is done so far as a file in ``folder``; formats that are folders come as zip."""
        content = self._client._request("GET", f"{self._path}/export/{format}").content
        row = FORMATS[format]
        name = default_name(self.clip, format) + ("" if row.endings.get(self.clip.kind) else ".zip")
        path = Path(folder) / name
        path.write_bytes(content)
        return path

    def close(self) -> None:
        """End what runs, and let the service forget the medium."""
        self._client._request("DELETE", self._path)

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.close()
        except X2SamError:
            if kind is None:
                raise

    def _prompt(self, action: str, fields: dict[str, Any]) -> Result:
        return _result(
            self._client._json("POST", f"{self._path}/prompts", json={"action": action, **fields}), self.clip
        )


# --- to the service ---------------------------------------------------------------------------------------------------


def readable(source: Source) -> tuple[Clip, bytes]:
    """A medium here, and its file's content for sending; arrays and PIL images are sent as PNG."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return open_media(source), bytes(source)
    clip = open_media(source)
    if clip.path is not None and clip.path.is_file():
        return clip, clip.path.read_bytes()
    if clip.kind == "image":
        buffer = BytesIO()
        Image.fromarray(clip.frame_at(0)).save(buffer, "PNG")
        return clip, buffer.getvalue()
    raise InputError(f"Got {clip.name} to send", "a file, bytes, or a picture", "Write the frames to a video file")


def _asking(
    prompt: Any, regions: Any, task: str | None, options: dict[str, Any], size: tuple[int, int]
) -> dict[str, Any]:
    """The fields of a request; what is not given is left out."""
    own = {name: options.pop(name) for name in ("identity",) if name in options}
    tokens = options.pop("max_new_tokens", None)
    words = {"prompt": prompt} if isinstance(prompt, str) or prompt is None else {"categories": list(prompt)}
    fields = {**words, "regions": _regions(regions, size), "task": task, "options": options, "tokens": tokens, **own}
    return {name: value for name, value in fields.items() if value is not None}


def _form(fields: dict[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}


def _regions(regions: Any, size: tuple[int, int]) -> list[dict[str, Any]] | None:
    """Regions in any of the forms of `X2Sam.segment`, as the service takes them."""
    if regions is None:
        return None
    given = plain(regions)
    items = given if isinstance(given, list) else [given]
    return [sent for item in items for sent in _region(item, size)]


def _region(item: Any, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Points, boxes and dicts of them as they are; whatever else holds pixels as masks."""
    given = plain(item)
    if isinstance(given, dict) and not {"counts", "mask", "object_id"} & given.keys():
        return [given]
    if isinstance(given, np.ndarray) and given.ndim in (1, 2) and given.shape != size and given.shape[-1] in (2, 4):
        name = "point" if given.shape[-1] == 2 else "box"
        return [{name: row} for row in np.atleast_2d(given).astype(float).tolist()]
    found = []
    for region in read_regions([item], size):
        about = {"frame": region.frame, "id": region.object_id, "name": region.name}
        known = {name: value for name, value in about.items() if value is not None}
        found.append({"mask": region.rle.to_coco(), **known})
    return found


# --- from the service -------------------------------------------------------------------------------------------------


def _result(answer: dict[str, Any], clip: Clip) -> Result:
    prompt = Prompt(tuple(Condition(text=label) for label in answer["labels"]))
    return Result(answer["task"], answer["text"], tuple(_frame(f) for f in answer["frames"]), prompt, clip)


def _frame(frame: dict[str, Any]) -> FrameResult:
    segments = tuple(
        Segment(
            RLE.from_coco(segment["rle"]),
            **{name: segment[name] for name in ("label", "score", "object_id", "condition", "is_thing")},
            frame=frame["index"],
        )
        for segment in frame["segments"]
    )
    presence = {int(condition): sure for condition, sure in frame.get("presence", {}).items()}
    return FrameResult(frame["index"], frame["time"], frame["height"], frame["width"], segments, presence)


def _check(answer: httpx.Response) -> None:
    if answer.is_error:
        try:
            error = dict(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            error = {"got": f"Got {answer.status_code} {answer.reason_phrase} from {answer.url.host}"}
        raise ServiceError(answer.status_code, error)


def _unreachable(url: httpx.URL, error: Exception) -> X2SamError:
    return X2SamError(
        f"Got no answer from {url} ({type(error).__name__})", "a running service", "Start one with: x2sam serve"
    )
