"""One prompt's running state: what guides its masks, what it remembers and whom it knows.

It goes through frames one after the other, in either direction of time (`frame_step`), asks the engine, and knows
nothing of the medium they come from.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from dataclasses import dataclass, field, replace
from typing import Literal

from x2sam.decoding.answer import AnswerOptions
from x2sam.model.mask_memory import MemoryBank
from x2sam.requests import Request
from x2sam.tracking.association import Association
from x2sam.tracking.engine import EncodedPrompt, Engine
from x2sam.tracking.history import History
from x2sam.types import Frame, Segment

Refresh = int | Literal["auto"] | None
"""How often the language side reads a prompt again: every so many frames, when masks stop agreeing, or never."""
AGREEMENT, PATIENCE, MOST_PATIENCE = 0.5, 4, 64
"""``refresh="auto"``: overlap of a stream's masks with what was propagated below which its prompt is read again; the
frames between two readings at least, twice as many after each reading that did not help; and the most of these."""


@dataclass
class PromptState:
    """What one prompt's objects need from frame to frame."""

    number: int
    """Of the prompt in its track: by it `ObjectManager` knows whose objects are whose."""
    request: Request
    options: AnswerOptions
    association: Association
    encoded: EncodedPrompt | None = None
    """None until there is a frame to read."""
    shown: dict[int, Frame] = field(default_factory=dict)
    """Frames that its regions are drawn on, where they will be read again."""
    first: int = 0
    """Frame from which it follows."""
    read_at: int = 0
    """Frame at which the language side last read the prompt."""
    stale: bool = False
    """Its masks stopped agreeing with what was propagated, so that it is read again (``refresh="auto"``)."""
    patience: int = PATIENCE
    """Frames until it may be read again for that."""
    bank: MemoryBank | None = None
    last: int | None = None
    """Frame that was last decoded."""
    decoded: dict[int, int] = field(default_factory=dict)
    """The frame on which each condition was last decoded, where conditions take turns."""
    found: dict[int, Segment] = field(default_factory=dict)
    """What was found when it was last decoded, by row of the propagated masks."""
    presence: dict[int, float] = field(default_factory=dict)
    """How sure it was of each condition when that was last decoded."""
    backward: bool = False

    @property
    def key(self) -> Hashable:
        """Of its trail in the `History`: the masks of its conditions."""
        return (self.number, self.backward)

    @property
    def keyframe(self) -> Hashable:
        """Of the masks of the segments that were found on the last key frame, where frames are left out."""
        return (self.number, self.backward, "key")

    @property
    def follows(self) -> bool:
        """Whether its objects are where their masks were propagated to."""
        task = self.request.task
        return self.options.protocol == "public" and task.one_region and task.media == "video"

    @property
    def stays(self) -> bool:
        """Whether a query is chosen for being where the object was. In the release phrases choose frame by frame."""
        return self.request.task.one_region or self.options.protocol == "public"

    def due(self, last: int | None, index: int) -> bool:
        """Whether something that was decoded on frame ``last`` is decoded on this one."""
        drawn = any(region.frame == index for region in self.request.prompt.regions)
        return drawn or last is None or abs(index - last) >= self.options.every

    def fork(self, history: History) -> PromptState:
        """Another that goes on from here backward in time; ids come from the same source."""
        forked = replace(
            self,
            association=self.association.fork(),
            decoded=dict(self.decoded),
            found=dict(self.found),
            presence=dict(self.presence),
            backward=not self.backward,
        )
        history.copy(self.key, forked.key)
        history.copy(self.keyframe, forked.keyframe)
        return forked

    def read(self, engine: Engine, index: int, refresh: Refresh) -> Generator[str, None, None]:
        """Read the prompt if that is due."""
        if self.encoded is not None:
            if refresh is None:
                return
            if refresh == "auto":
                due = self.stale and abs(index - self.read_at) >= self.patience
                self.patience = min(MOST_PATIENCE, self.patience * 2) if due else self.patience
            else:
                due = index // refresh > self.read_at // refresh
            if not due:
                return
        self.encoded = yield from engine.read(self.request, upto=index, drawn_on=self.shown)
        self.read_at, self.stale = index, False
