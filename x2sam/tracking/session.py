"""One opened medium: read once, asked as often as you like.

session = x2sam.X2Sam.from_pretrained().open("clip.mp4")
for frame in session.track("the rabbit"): ...
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from x2sam.config import X2SamConfig
from x2sam.decoding.answer import AnswerOptions
from x2sam.errors import InputError
from x2sam.examples import Like, Same
from x2sam.media.opening import Clip
from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor
from x2sam.prompts import clean
from x2sam.requests import Request
from x2sam.results.result import Result
from x2sam.tasks import TASKS
from x2sam.tracking.association import Identity
from x2sam.tracking.engine import MAX_NEW_TOKENS, Engine, listen
from x2sam.tracking.everything import result_of
from x2sam.tracking.prompt_state import Refresh
from x2sam.tracking.track import Track
from x2sam.types import Condition, FrameResult, Prompt

FOLLOWED = 24
"""Objects of a film's first frame that are followed where everything is asked for, unless said."""


class Session:
    """A medium, opened by `X2Sam.open`. What it does step by step has a twin that is a generator (`tracking` ...).

    Threads may share a model as they like, and a session for `segment` and `chat`, which take turns: the reading of the
    medium is the session's own. A track belongs to the thread that iterates it, and its session with it.
    """

    def __init__(self, model: X2SamModel, processor: X2SamProcessor, clip: Clip, history: int = 0) -> None:
        self.engine = Engine(model, processor, clip)
        self.history = max(history, processor.language_frames)
        """Frames of a stream that stay at hand, for the language side and for corrections."""
        if clip.stream is not None:
            clip.stream.remember(self.history)
        self._turn = threading.RLock()

    @property
    def model(self) -> X2SamModel:
        return self.engine.model

    @property
    def clip(self) -> Clip:
        return self.engine.clip

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the medium."""
        return self.clip.size

    @property
    def seen(self) -> int:
        """Frames that the language side sees."""
        return self.engine.frames_seen

    # --- for users ---------------------------------------------------------------------------------------------

    def segment(
        self,
        prompt: str | Sequence[str] | Prompt | None = None,
        regions: Any = None,
        task: str | None = None,
        everything: bool = False,
        **options: Any,
    ) -> Result:
        """Segment an image, or all of a clip. See `X2Sam.segment`."""
        with self._turn:
            if everything and self.clip.kind == "image":
                return self._everything(prompt, regions, task, options)
            return self.track(prompt, regions, task, everything=everything, **options).finish()

    def _everything(self, prompt: Any, regions: Any, task: str | None, options: dict[str, Any]) -> Result:
        if regions is not None or task is not None or options.get("like") is not None:
            raise InputError("Got regions, examples or a task beside everything", "names at most")
        names = [prompt] if isinstance(prompt, str) else list(prompt or ())
        found = result_of(self.engine, names, answer_options(options, self.model.config))
        return Result(
            "everything", "", (found,), Prompt(tuple(Condition(name) for name in names or ["thing"])), self.clip
        )

    def track(
        self,
        prompt: str | Sequence[str] | Prompt | None = None,
        regions: Any = None,
        task: str | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Track:
        """Segment frame by frame, as the result is iterated, or as frames are pushed. See `X2Sam.track`.

        on_text: called with every new piece of text as it is spoken. options: as in `tracking`.
        """
        return listen(self.tracking(prompt, regions, task, **options), on_text)

    def tracking(
        self,
        prompt: str | Sequence[str] | Prompt | None = None,
        regions: Any = None,
        task: str | None = None,
        identity: Identity = "x2sam",
        max_new_tokens: int = MAX_NEW_TOKENS,
        keep: bool = True,
        refresh: Refresh = None,
        like: Like | None = None,
        unlike: Any = (),
        same: Same = "kind",
        everything: bool = False,
        **options: Any,
    ) -> Generator[str, None, Track]:
        """As `track`, yielding pieces of text as they are spoken."""
        track = Track(
            self.engine, answer_options(options, self.model.config), identity, keep, refresh, window=self.history
        )
        if everything:
            if prompt is not None or regions is not None or like is not None or self.clip.stream is not None:
                raise InputError("Got everything of a stream, or with a prompt", "a film, and nothing beside it")
            found = result_of(
                self.engine, (), replace(track.options, max_objects=track.options.max_objects or FOLLOWED)
            )
            regions = [segment.rle for segment in found.segments]
        request = track.request(prompt, regions, task, like=like, unlike=unlike, same=same)
        yield from track.following(request, max_new_tokens=max_new_tokens)
        return track

    def restore(self, path: str | os.PathLike[str]) -> Track:
        """Go on with a track that `Track.save` wrote, on the same medium opened again (or a stream that goes on).

        Raises InputError for a file of another version or of another model, and for a damaged one.
        """
        return Track.restore(path, self.engine)

    def chat(
        self,
        messages: str | Sequence[dict[str, str]],
        on_text: Callable[[str], None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **options: Any,
    ) -> Result:
        """Answer in words; if the answer grounds phrases, their masks come with it. See `X2Sam.chat`."""
        with self._turn:
            return listen(self.chatting(messages, max_new_tokens, **options), on_text)

    def chatting(
        self, messages: str | Sequence[dict[str, str]], max_new_tokens: int = MAX_NEW_TOKENS, **options: Any
    ) -> Generator[str | FrameResult, None, Result]:
        """As `chat`, yielding pieces of text as they are spoken, then the results of frames."""
        task = TASKS["vid_chat" if self.clip.kind == "video" else "img_chat"]
        request = Request(task, chat_prompt(messages))
        encoded = yield from self.engine.read(request, max_new_tokens)
        if encoded.guidance is None:
            return Result(request.task.name, encoded.text, (), request.prompt, self.clip, encoded.usage)
        track = Track(self.engine, answer_options(options, self.model.config), window=self.history)
        yield from track.following(request, encoded=encoded)
        yield from track
        return track.done


def chat_prompt(messages: str | Sequence[dict[str, str]]) -> Prompt:
    """A conversation so far, ``[{"role": "user", "content": ...}, ...]``; its last message waits for an answer."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    roles = [m.get("role") for m in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise InputError(f"Got messages of the roles {roles}", "user and assistant in turn, a user's last")
    contents = [clean(str(m.get("content", ""))) for m in messages]
    if not all(contents[::2]):
        raise InputError("Got an empty message", "text")
    return Prompt(text=contents[-1], history=tuple(zip(contents[:-1:2], contents[1::2], strict=True)))


def answer_options(options: dict[str, Any], config: X2SamConfig) -> AnswerOptions:
    """Keyword arguments -> options, with the model's own defaults; an unknown one is named."""
    calibrated = {
        "presence": config.presence_threshold,
        "arrival": config.arrival_threshold,
        "staying": config.staying_threshold,
        "object_presence": config.object_threshold,
        "grounded": config.grounded_threshold,
        "calibration": tuple((kind, float(t), float(b)) for kind, (t, b) in (config.calibration or {}).items()),
    }
    return AnswerOptions().but(**{**calibrated, **options})
