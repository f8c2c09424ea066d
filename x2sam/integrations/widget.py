"""Click on a picture in a notebook and get the mask: ``Clicker(model, "photo.jpg")`` as the last line of a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from x2sam.errors import InputError, MissingExtraError, X2SamError
from x2sam.predictor import X2Sam
from x2sam.results import draw
from x2sam.results.notebook import outline, picture_url
from x2sam.results.result import Result

try:
    import anywidget
    import traitlets
except ImportError:
    raise MissingExtraError("anywidget", "notebook") from None


class Clicker(anywidget.AnyWidget):
    """A picture that answers clicks. A click adds a point of the object, one with shift a point that is not part of it.

    ``result`` is the newest `Result` (None before the first click), ``points`` and ``negative`` are what was clicked.

    Args:
        model: a loaded `X2Sam`.
        image: as in `X2Sam.open`; a picture.
        options: of `X2Sam.segment`; the threshold is 0 unless given, so that every click has an answer.
    """

    _esm = Path(__file__).with_name("widget.js")
    picture = traitlets.Unicode().tag(sync=True)
    size = traitlets.List(traitlets.Int()).tag(sync=True)
    """Width and height."""
    clicks: Any = traitlets.List().tag(sync=True)
    """``[x, y, 1 or 0]`` in pixels of the picture."""
    shown = traitlets.Dict().tag(sync=True)
    """What is drawn: path, colour, name."""

    def __init__(self, model: X2Sam, image: Any, **options: Any) -> None:
        self.session = model.open(image)
        if self.session.clip.kind != "image":
            raise InputError(f"Got the video {self.session.clip.name}", "a picture", "Use X2Sam.track for films")
        self.options = {"threshold": 0.0, **options}
        self.result: Result | None = None
        height, width = self.session.size
        super().__init__(picture=picture_url(self.session.clip.frame_at(0)), size=[width, height])
        self.observe(self._answer, "clicks")

    @property
    def points(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y, sign in self.clicks if sign]

    @property
    def negative(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y, sign in self.clicks if not sign]

    def _answer(self, change: Any = None) -> None:
        self.result = None
        if not self.points:
            self.shown = (
                {"name": "shift-click says what is not part of it; click on the object first"} if self.clicks else {}
            )
            return
        region = {"points": self.points, **({"negative": self.negative} if self.negative else {})}
        try:
            self.result = self.session.segment(regions=[region], **self.options)
        except X2SamError as error:
            self.shown = {"name": str(error)}
            return
        best = max(self.result.segments, key=lambda s: s.score, default=None)
        if best is None:
            self.shown = {"name": "nothing found"}
            return
        colour = "#{:02x}{:02x}{:02x}".format(*draw.colour(best.object_id))
        self.shown = {"path": outline(best.mask), "colour": colour, "name": f"{best.label} {best.score:.2f}"}
