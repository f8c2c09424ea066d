"""Chat in the form that OpenAI's clients speak: content lists with pictures or a video; masks are an extension."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from x2sam.errors import InputError, X2SamError
from x2sam.results.result import Result
from x2sam.serve.gate import client_of
from x2sam.serve.jobs import Job
from x2sam.serve.limits import Limits
from x2sam.serve.routes import length, opened_of, prepare, segmented
from x2sam.serve.schemas import Asking, FrameOut, MaskForm, MaskForms, Options, RegionIn, TaskName, frame_out
from x2sam.serve.store import whole
from x2sam.serve.uploads import TooLarge
from x2sam.serve.web import Events, aside, medium_of, outcome, passing, refusal
from x2sam.tasks import get_task
from x2sam.tracking.session import Session

router = APIRouter()


class Loose(BaseModel):
    """Clients of others send more than is used here."""

    model_config = ConfigDict(extra="ignore")


class Address(Loose):
    url: str = Field(description="data: URL, or (if the service allows it) an http address")


class TextPart(Loose):
    type: Literal["text"]
    text: str


class ImagePart(Loose):
    type: Literal["image_url"]
    image_url: Address


class VideoPart(Loose):
    type: Literal["video_url"]
    video_url: Address


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class Message(Loose):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """What it says, without its media; answers that called a tool say nothing."""
        content = self.content or ""
        parts = [content] if isinstance(content, str) else [p.text for p in content if p.type == "text"]
        return " ".join(part for part in parts if part.strip())

    @property
    def media(self) -> list[str]:
        """Addresses of its pictures and videos."""
        parts = [] if self.content is None or isinstance(self.content, str) else self.content
        return [p.image_url.url if p.type == "image_url" else p.video_url.url for p in parts if p.type != "text"]


class StreamOptions(Loose):
    include_usage: bool | None = None


class ChatIn(Loose):
    """A conversation about one picture or video. The fields after ``stream_options`` are extensions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    model: str = "x2sam"
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=100_000)
    n: Literal[1] | None = None
    stop: Annotated[str, Field(min_length=1, max_length=1000)] | Annotated[list[str], Field(max_length=4)] | None = (
        Field(default=None, description="The answer ends before the first of these")
    )
    tools: list[Any] | None = Field(default=None, description="Never called")
    tool_choice: Any = None
    function_call: Any = Field(default=None, description="The older name of ``tool_choice``")
    modalities: list[Any] | None = None
    response_format: Any = None
    logprobs: bool | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    task: TaskName | None = Field(default=None, description="To segment: the last message is the prompt")
    regions: list[RegionIn] | None = None
    options: Options = Options()
    session: str | None = Field(
        default=None, max_length=100, description="An open session instead of an embedded medium"
    )
    masks: MaskForms = ["rle"]

    @property
    def stops(self) -> list[str]:
        """Where the answer ends."""
        return [stop for stop in ([self.stop] if isinstance(self.stop, str) else self.stop or []) if stop]

    def check(self) -> None:
        """Raise InputError for what would be missed in the answer; what only shapes it is let pass."""
        kind = self.response_format.get("type") if isinstance(self.response_format, dict) else self.response_format
        forced = self.function_call if self.tool_choice in (None, "auto", "none") else self.tool_choice
        refused = {
            f"the tool choice {forced!r:.60}": forced not in (None, "auto", "none"),
            f"the modalities {self.modalities!r:.60}": bool(self.modalities) and self.modalities != ["text"],
            f"the response format {kind!r:.60}": kind not in (None, "text"),
            "logprobs": bool(self.logprobs),
        }
        for what, is_refused in refused.items():
            if is_refused:
                raise InputError(f"Got {what}, which is not supported", "an answer in plain text")


class MessageOut(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    masks: list[FrameOut] = Field(description="Extension: what the answer grounds, frame by frame")


class Choice(BaseModel):
    index: int = 0
    message: MessageOut
    finish_reason: Literal["stop", "length"]


class Usage(BaseModel):
    """Tokens, those that stand for pictures and markers included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatOut(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelOut(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "x2sam"


class ModelsOut(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]


class Ending:
    """An answer that ends before the first of some texts, as it comes piece by piece."""

    def __init__(self, stops: list[str]) -> None:
        self._stops, self._held = stops, ""
        self.ended = False

    def add(self, piece: str) -> str:
        """What may be said now; a piece that may prove to begin a stop waits."""
        if self.ended:
            return ""
        text = self._held + piece
        waits = max((n for stop in self._stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        begun = len(text) - waits  # where a stop may begin that is not whole yet
        found = self._first(text)
        if found is not None and found <= begun:
            self.ended, self._held = True, ""
            return text[:found]
        self._held = text[begun:]
        return text[:begun]

    def rest(self) -> str:
        """What waited, once nothing follows."""
        held, self._held = self._held, ""
        found = self._first(held)
        self.ended = self.ended or found is not None
        return held[:found]

    def _first(self, text: str) -> int | None:
        """Where the first stop begins that is there as a whole."""
        return min((at for stop in self._stops if (at := text.find(stop)) >= 0), default=None)

    def of(self, text: str) -> str:
        """A whole text up to its end."""
        return self.add(text) + self.rest()


def usage_of(result: Result) -> Usage:
    """Tokens as this interface calls them."""
    read, said = result.usage.read, result.usage.said
    return Usage(prompt_tokens=read, completion_tokens=said, total_tokens=read + said)


def ended(result: Result, ending: Ending) -> Literal["stop", "length"]:
    """Why an answer ended."""
    return "length" if result.usage.cut and not ending.ended else "stop"


@router.post("/v1/chat/completions", tags=["chat"])
async def chat_completions(request: Request, body: ChatIn) -> ChatOut:
    """Talk about a picture or a video."""
    body.check()
    turns, media = conversation(body, request.app.state.limits)
    head: dict[str, Any] = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}
    async with AsyncExitStack() as stack:
        job = await _begin(request, body, turns, media, stack)
        if body.stream:
            chunks = _chunks(request, job, head, body)
            return Events(chunks, job, stack.pop_all())  # type: ignore[return-value]
        *_, result = await outcome(request, job)
        message = await aside(request, _message, result, body.masks)
    ending = Ending(body.stops)
    message.content = ending.of(message.content)
    end = ended(result, ending)
    return ChatOut(**head, choices=[Choice(message=message, finish_reason=end)], usage=usage_of(result))


@router.get("/v1/models", tags=["chat"])
async def models(request: Request) -> ModelsOut:
    """The one model there is, for programs that look for some; any name is taken for it."""
    return ModelsOut(data=[ModelOut(id=request.app.state.predictor.name or "x2sam")])


def conversation(body: ChatIn, limits: Limits) -> tuple[list[dict[str, str]], list[str]]:
    """The messages as `Session.chat` takes them, and the addresses of the media; what a system says comes first."""
    if len(body.messages) > limits.messages or any(len(m.text) > limits.text for m in body.messages):
        raise TooLarge("Got too long a conversation", f"at most {limits.messages} messages of {limits.text} letters")
    spoken = [m for m in body.messages if m.role in ("user", "assistant")]
    if not spoken:
        raise InputError("Got a conversation in which nobody asks", "a message of the role user")
    orders = [m.text for m in body.messages if m.role in ("system", "developer")]
    while len(spoken) > 1 and spoken[0].role == "assistant":  # a greeting
        orders.append(spoken.pop(0).text)
    turns: list[dict[str, str]] = []
    for message in spoken:  # what one side says in several messages is one turn
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] = f"{turns[-1]['content']} {message.text}".strip()
        else:
            turns.append({"role": message.role, "content": message.text})
    turns[0]["content"] = " ".join([*orders, turns[0]["content"]])
    return turns, [address for m in body.messages for address in m.media]


async def _begin(
    request: Request,
    body: ChatIn,
    turns: list[dict[str, str]],
    media: list[str],
    stack: AsyncExitStack,
) -> Job[Any]:
    """Take the medium and queue the work; pieces of text are its results, and at last the result."""
    state, opened = request.app.state, None
    if len(media) + (body.session is not None) != 1:
        raise InputError(f"Got a conversation about {len(media)} media", "one picture, video or session")
    if body.session is not None:
        opened = opened_of(request, body.session)
        upload = opened.upload
    else:
        data = await medium_of(request, media[0])
        upload = await stack.enter_async_context(passing(request, data, "medium"))
    segments = body.regions is not None or (body.task is not None and not get_task(body.task).is_chat)
    asking = Asking(
        prompt=None if body.regions is not None or not _worded(body.task) else turns[-1]["content"],
        regions=body.regions,
        task=body.task,
        options=body.options,
        tokens=body.max_completion_tokens or body.max_tokens or state.limits.tokens,
    )
    asked = await aside(request, prepare, asking, upload, state.limits) if segments else None

    def answer(session: Session | None) -> Generator[Any, None, Result]:
        tokens, options = length(asking, state.limits), body.options.model_dump()
        session = session or state.predictor.open(upload.open())
        if asked is None:
            return (yield from session.chatting(turns, max_new_tokens=tokens, **options))
        return (yield from segmented(session, asked, max_new_tokens=tokens, **options))

    if opened is not None:
        return opened.change(answer(opened.session))
    return state.worker.submit(client_of(request.scope), whole(answer(None)))


def _worded(task: str | None) -> bool:
    return task is None or get_task(task).conditions not in ("answer", "regions")


def _message(result: Result, masks: list[MaskForm]) -> MessageOut:
    return MessageOut(content=result.text, masks=[frame_out(frame, masks) for frame in result.frames])


async def _chunks(request: Request, job: Job[Any], head: dict[str, Any], body: ChatIn) -> AsyncIterator[str]:
    """The answer piece by piece; the masks come with the last one, and after it the usage where it is asked for."""
    counted = body.stream_options is not None and bool(body.stream_options.include_usage)

    def chunk(choices: list[dict[str, Any]], usage: Usage | None = None) -> str:
        about = {"usage": usage.model_dump() if usage else None} if counted else {}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': choices, **about})}\n\n"

    def choice(delta: dict[str, Any], end: str | None = None) -> str:
        return chunk([{"index": 0, "delta": delta, "finish_reason": end}])

    ending, usage = Ending(body.stops), Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
    yield choice({"role": "assistant", "content": ""})
    try:
        async for piece in job:
            if isinstance(piece, str):
                if text := ending.add(piece):
                    yield choice({"content": text})
            else:
                if text := ending.rest():
                    yield choice({"content": text})
                message = await aside(request, _message, piece, body.masks)
                usage = usage_of(piece)
                yield choice({"masks": [frame.model_dump() for frame in message.masks]}, ended(piece, ending))
        if counted:
            yield chunk([], usage)
    except X2SamError as error:
        yield f"data: {json.dumps(refusal(error))}\n\n"
    yield "data: [DONE]\n\n"
