"""Tools for agents, by the official MCP SDK: ``x2sam mcp`` over stdio, or ``/mcp`` of ``x2sam serve --mcp``.

The same worker, limits and refusals as the REST interface. Over HTTP paths are never opened, as there.
"""

from __future__ import annotations

import base64
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import FastAPI
from pydantic import Field

from x2sam.errors import InputError, MediaError, MissingExtraError, X2SamError
from x2sam.predictor import X2Sam
from x2sam.results.export import FORMATS, check_format, save_as_file
from x2sam.results.result import Result
from x2sam.serve import schemas
from x2sam.serve.api import create_app, shutdown
from x2sam.serve.fetch import fetch
from x2sam.serve.limits import Limits
from x2sam.serve.routes import prepare, segmenting
from x2sam.serve.schemas import MaskForms, RegionIn
from x2sam.serve.uploads import TooLarge, Upload, embedded
from x2sam.version import __version__

try:
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.server.transport_security import TransportSecuritySettings
except ImportError:
    raise MissingExtraError("mcp", "mcp") from None

CLIENT = "mcp"
Medium = Annotated[str, Field(description="A data: URL or base64 of a picture or a video; over stdio also a path")]
Phrase = Annotated[str | None, Field(description="A phrase ('the red cup on the left') or a question")]
Names = Annotated[list[str] | None, Field(description="Names, of which everything is found; 'stuff: sky'")]
Regions = Annotated[list[RegionIn] | None, Field(description="What is pointed at: points, boxes, masks, in pixels")]
Least = Annotated[float | None, Field(ge=0, le=1, description="Score that an object needs")]
INSTRUCTIONS = (
    "Finds things in pictures and videos. Say what by one of: prompt, categories, regions. Coordinates are pixels of "
    "the medium, x to the right and y down. Nothing found is an answer: found is false."
)


class Tools:
    """The tools over one service's worker and store. paths: whether a medium may be a path of this machine."""

    def __init__(self, app: FastAPI, paths: bool) -> None:
        self.state, self.paths = app.state, paths

    async def segment(
        self,
        media: Medium,
        prompt: Phrase = None,
        categories: Names = None,
        regions: Regions = None,
        threshold: Least = None,
        masks: MaskForms = [],  # noqa: B006
    ) -> dict[str, Any]:
        """Find things in a picture or a short clip: label, score, box, area and id of each, masks if asked for."""
        async with self._opened(media) as upload:
            result = await self._asked(upload, prompt, categories, regions, threshold)
            answer = await run_sync(schemas.answer_out, result, upload, list(masks))
            return answer.model_dump(exclude_none=True)

    async def track(
        self,
        media: Medium,
        prompt: Phrase = None,
        categories: Names = None,
        regions: Regions = None,
        threshold: Least = None,
        first: Annotated[int, Field(ge=0, description="Frame to begin with")] = 0,
        frames: Annotated[int, Field(ge=1, le=10**6, description="So many frames at most")] = 300,
    ) -> dict[str, Any]:
        """Follow things through a video: for each object its label and its box on every frame."""
        async with self._opened(media) as upload:
            body = self._body(prompt, categories, regions, threshold)
            asked = await run_sync(prepare, body, upload, self.state.limits)
            count = min(frames, self.state.limits.frames)
            steps = _following(self.state.predictor, upload, asked.prompt, asked.task.name, threshold, first, count)
            found = [frame async for frame in self.state.worker.submit(CLIENT, steps)]
        objects: dict[int, dict[str, Any]] = {}
        for segment in (segment for frame in found for segment in frame.segments):
            entry = objects.setdefault(segment.object_id, {"id": segment.object_id, "label": segment.label})
            entry.setdefault("boxes", {})[segment.frame] = [round(v, 1) for v in segment.box]
        indices = [frame.index for frame in found]
        return {"frames": indices, "found": bool(objects), "objects": list(objects.values())}

    async def describe(
        self, media: Medium, question: Annotated[str | None, Field(description="None: describe it")] = None
    ) -> dict[str, Any]:
        """Say in words what is there, or answer a question; with the boxes of what the words speak of."""
        async with self._opened(media) as upload:
            task = f"{'img' if upload.kind == 'image' else 'vid'}_{'gcgseg' if question is None else 'chat'}"
            result = await self._asked(upload, question, None, None, None, task)
            return (await run_sync(schemas.answer_out, result, upload, [])).model_dump(exclude_none=True)

    async def export(
        self,
        media: Medium,
        format: Annotated[str, Field(description=f"One of: {', '.join(FORMATS)}")],
        prompt: Phrase = None,
        categories: Names = None,
        regions: Regions = None,
        threshold: Least = None,
        out: Annotated[str | None, Field(description="Over stdio: a folder to write to; None: the file itself")] = None,
    ) -> dict[str, Any]:
        """Find things and give a file that other tools read; folders come as zip."""
        check_format(format)
        if out is not None and not self.paths:
            raise InputError("Got a folder to write to", "none: the file is in the answer")
        async with self._opened(media) as upload:
            check_format(format, upload.kind)
            result = await self._asked(upload, prompt, categories, regions, threshold)
            folder = Path(tempfile.mkdtemp(prefix="mcp-", dir=self.state.store.folder))
            try:
                own = replace(result, clip=await run_sync(upload.open))
                file = await run_sync(save_as_file, own, folder, format)
                if out is not None:
                    return {"file": str(await run_sync(_moved, file, Path(out).expanduser()))}
                if file.stat().st_size > self.state.limits.json_bytes:
                    raise TooLarge(
                        f"Got a file of {file.stat().st_size} bytes", f"at most {self.state.limits.json_bytes}"
                    )
                return {"name": file.name, "base64": base64.b64encode(file.read_bytes()).decode()}
            finally:
                await run_sync(shutil.rmtree, folder, True)

    # --- what they share --------------------------------------------------------------------------------------------

    def _body(self, prompt: Any, categories: Any, regions: Any, threshold: Any, task: Any = None) -> schemas.Asking:
        options = schemas.Options(threshold=threshold)
        return schemas.Asking(prompt=prompt, categories=categories, regions=regions, options=options, task=task)

    async def _asked(
        self, upload: Upload, prompt: Any, categories: Any, regions: Any, threshold: Any, task: Any = None
    ) -> Result:
        state = self.state
        if (upload.length or 0) > state.limits.inline_frames:
            most = f"at most {state.limits.inline_frames}"
            raise TooLarge(f"Got a clip of {upload.length} frames", most, "Use track, with first and frames")
        body = self._body(prompt, categories, regions, threshold, task)
        asked = await run_sync(prepare, body, upload, state.limits)
        steps = segmenting(state.predictor, upload, asked, body, state.limits)
        *_, result = [item async for item in state.worker.submit(CLIENT, steps)]
        return result

    @asynccontextmanager
    async def _opened(self, media: str) -> AsyncIterator[Upload]:
        """A medium for one call, taken under the limits of the service."""
        data, name = await run_sync(self._data, media, limiter=self.state.decoders)
        held = self.state.store.passing(data, name)
        upload = await run_sync(held.__enter__, limiter=self.state.decoders)
        try:
            yield upload
        finally:
            await run_sync(held.__exit__, None, None, None)

    def _data(self, media: str) -> tuple[bytes | Path, str]:
        if media[:8].lower().startswith(("http://", "https://")):
            return fetch(media, self.state.limits), media.partition("?")[0].rpartition("/")[2]
        if self.paths and media[:5].lower() != "data:" and len(media) < 4096:
            path = Path(media).expanduser()
            if path.is_file():
                return path, path.name
            if len(path.suffix) > 1 or "/" in media[:1]:
                raise MediaError(f"Got {media!r}, which is no file", "a picture or a video")
        return embedded(media), "medium"


def _following(
    predictor: X2Sam, upload: Upload, prompt: Any, task: str, threshold: float | None, first: int, count: int
) -> Iterator[Any]:
    track = predictor.open(upload.open()).track(prompt, task=task, threshold=threshold)
    return (frame for frame in islice(track, first + count) if frame.index >= first)


def _moved(file: Path, folder: Path) -> Path:
    """Put a file into a folder; nothing is written over."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    if target.exists():
        raise InputError(f"Got {str(target)!r} to write to, which exists", "another folder")
    return Path(shutil.copyfile(file, target))


def make_server(app: FastAPI, paths: bool = False) -> MCPServer:
    """The server with its four tools; refusals are results that say what was wrong."""
    server = MCPServer("x2sam", instructions=INSTRUCTIONS, version=__version__)
    tools = Tools(app, paths)
    for tool in (tools.segment, tools.track, tools.describe, tools.export):
        server.add_tool(_refusing(tool), name=tool.__name__)
    return server


def _refusing(tool: Any) -> Any:
    """The same function, whose errors are told to the one that asked."""

    @functools.wraps(tool)
    async def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return await tool(*args, **kwargs)
        except X2SamError as error:
            raise ToolError(str(error)) from None

    return told


def mount(app: FastAPI) -> None:
    """Let an application of the service answer MCP at /mcp; hosts, origins and tokens are its gate's matter."""
    server = make_server(app)
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    inner = server.streamable_http_app(streamable_http_path="/mcp", transport_security=security, json_response=True)
    app.router.routes += inner.routes
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: Any) -> AsyncIterator[Any]:
        async with outer(application) as state, server.session_manager.run():
            yield state

    app.router.lifespan_context = lifespan


def run_stdio(model: str, device: str, dtype: str, limits: Limits | None = None) -> None:
    """Serve one program over stdin and stdout until it closes them."""
    app = create_app(X2Sam.from_pretrained(model, device=device, dtype=dtype), limits, page=False)
    try:
        make_server(app, paths=True).run("stdio")
    finally:
        shutdown(app)
