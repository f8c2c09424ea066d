"""The tools for agents, asked by the official client: in one process, over loopback HTTP, over stdio."""

from __future__ import annotations

import base64
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image
from test_label_studio import film, picture

from x2sam import X2Sam
from x2sam.serve.api import create_app, shutdown

mcp = pytest.importorskip("mcp")
tools = pytest.importorskip("x2sam.integrations.mcp")


def url(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


def answer(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content
    return result.structured_content or json.loads(result.content[0].text)


async def refused(client: Any, name: str, **arguments: Any) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error
    return result.content[0].text


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = create_app(X2Sam.from_pretrained("tiny"), page=False, extensions=[tools.mount])
    yield made
    shutdown(made)


def test_an_agent_segments_tracks_describes_and_exports(app: Any, tmp_path: Path) -> None:
    async def ask() -> None:
        async with mcp.Client(tools.make_server(app)) as client:
            listed = (await client.list_tools()).tools
            assert [tool.name for tool in listed] == ["segment", "track", "describe", "export"]
            assert all(tool.description and "media" in tool.input_schema["required"] for tool in listed)
            found = answer(
                await client.call_tool(
                    "segment",
                    {"media": url(picture()), "regions": [{"point": [40, 30]}], "threshold": 0, "masks": ["rle"]},
                )
            )
            expected = X2Sam.from_pretrained("tiny").segment(
                np.asarray(Image.open(BytesIO(picture()))), regions=(40, 30), threshold=0.0
            )
            assert found["frames"][0]["segments"][0]["rle"]["counts"] == expected.segments[0].rle.to_coco()["counts"]
            video = url(film(tmp_path))
            followed = {"media": video, "regions": [{"box": [5, 5, 40, 40], "id": 7}], "threshold": 0, "first": 1}
            tracked = answer(await client.call_tool("track", {**followed, "frames": 3}))
            assert tracked["frames"] == [1, 2, 3]
            assert [each["id"] for each in tracked["objects"]] == [7]
            assert "text" in answer(await client.call_tool("describe", {"media": url(picture())}))
            shown = {"media": url(picture()), "regions": [{"point": [40, 30]}], "threshold": 0}
            file = answer(await client.call_tool("export", {**shown, "format": "coco"}))
            assert json.loads(base64.b64decode(file["base64"]))["annotations"]
            for arguments, said in (
                ({"media": "/etc/passwd"}, "Paths are never opened"),
                ({"media": "http://127.0.0.1/x"}, "does not fetch"),
                ({"media": url(picture()), "prompt": "a", "categories": ["b"]}, "one of them"),
                ({"media": url(picture()), "regions": [{"point": [999, 1]}]}, "outside the frame"),
                ({"media": url(picture()), "categories": ["x"] * 500}, "at most 200"),
            ):
                assert said in await refused(client, "segment", **arguments)
            assert "does not exist" in await refused(client, "export", media=url(picture()), format="nothing")
            assert "none: the file" in await refused(client, "export", media=url(picture()), format="coco", out="x")

    anyio.run(ask)


def test_over_http(app: Any) -> None:
    from browser import serving

    async def ask(address: str) -> None:
        async with mcp.Client(address + "mcp") as client:
            found = answer(await client.call_tool("segment", {"media": url(picture()), "categories": ["木"]}))
            assert found["labels"] == ["木"]

    with serving(app) as address:
        anyio.run(ask, address)


def test_over_stdio_paths_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "ein Bild.png").write_bytes(picture())

    async def ask() -> None:
        command = ["-m", "x2sam.cli", "mcp", "--model", "tiny"]
        from mcp import StdioServerParameters

        async with mcp.Client(StdioServerParameters(command=sys.executable, args=command)) as client:
            media = str(tmp_path / "ein Bild.png")
            arguments = {"media": media, "regions": [{"box": [3, 3, 40, 40]}], "threshold": 0}
            found = answer(await client.call_tool("segment", arguments))
            assert found["media"]["name"] == "ein Bild.png"
            done = answer(await client.call_tool("export", {**arguments, "format": "coco", "out": str(tmp_path)}))
            assert Path(done["file"]).parent == tmp_path
            again = await refused(client, "export", **arguments, format="coco", out=str(tmp_path))
            assert "which exists" in again
            assert "is no file" in await refused(client, "segment", media=str(tmp_path / "none.png"))

    anyio.run(ask)
