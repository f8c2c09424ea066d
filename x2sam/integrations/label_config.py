"""A Label Studio labelling interface: which medium it shows, how its regions are drawn, and what its labels ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from xml.etree import ElementTree

from x2sam.errors import InputError

Shape = Literal["brush", "polygon", "rectangle"]
LABELLED: dict[str, Shape] = {"brushlabels": "brush", "polygonlabels": "polygon", "rectanglelabels": "rectangle"}
BARE: dict[str, Shape] = {"brush": "brush", "polygon": "polygon", "rectangle": "rectangle"}
"""Tags that draw and leave the name to a `Labels` tag beside them."""
LONGEST = 200_000
"""Letters of an interface at most."""


@dataclass(frozen=True)
class Control:
    """A tag that regions are drawn with."""

    name: str
    to_name: str
    tag: str
    """In small letters, as results have it for their type: ``brushlabels``, ``polygon``, ``videorectangle``."""
    labels: tuple[str, ...]
    label_tag: str | None = None
    """Name of the ``Labels`` tag that names its regions; None where it names them itself."""
    smart: bool = False
    threshold: float | None = None

    @property
    def shape(self) -> Shape:
        return LABELLED.get(self.tag) or BARE.get(self.tag, "rectangle")


@dataclass(frozen=True)
class LabelConfig:
    """What of an interface matters to a model."""

    kind: Literal["image", "video"]
    value: str
    """Key of a task's data under which the medium's address is."""
    outputs: tuple[Control, ...]
    """Controls for answers. Smart ones are for prompts, unless there are no others."""
    prompts: dict[str, tuple[str, ...]]
    """What to look for under each label; its own name unless ``predicted_values`` says else."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(label for control in self.outputs for label in control.labels))

    def control_of(self, label: str | None) -> Control:
        """The control that a label's regions are drawn with: the first that has it, or the first of all."""
        return next((c for c in self.outputs if label in c.labels), self.outputs[0])

    def label_for(self, phrase: str) -> str | None:
        """The label that a phrase means, else the first; None where there is none."""
        said = phrase.strip().lower()
        for label in self.labels:
            if said in (label.lower(), *(prompt.lower() for prompt in self.prompts[label])):
                return label
        return next((label for label in self.labels if label.lower() in said.split()), next(iter(self.labels), None))


@lru_cache(maxsize=32)
def read_config(xml: str) -> LabelConfig:
    """Understand a labelling interface. Raises InputError where it has no picture or film, or nothing to draw with."""
    if len(xml) > LONGEST:
        raise InputError(f"Got a labelling interface of {len(xml)} letters", f"at most {LONGEST}")
    try:
        tags = [(element.tag.lower(), element) for element in ElementTree.fromstring(xml).iter()]
    except ElementTree.ParseError as error:
        raise InputError(f"Got a labelling interface that is no XML ({error})", "the project's <View>...") from None
    media = [(tag, e) for tag, e in tags if tag in ("image", "video") and e.get("name")]
    if not media:
        raise InputError("Got a labelling interface without <Image> or <Video>", "one of them", "Add it to the project")
    kind, medium = media[0]
    value = (medium.get("value") or medium.get("valueList") or "").lstrip("$")
    controls = tuple(_controls(tags, medium.get("name", ""), kind))
    if not controls:
        wanted = "<BrushLabels>, <PolygonLabels> or <RectangleLabels>" if kind == "image" else "<VideoRectangle>"
        raise InputError(f"Got a labelling interface with nothing to draw on its {kind}", wanted)
    outputs = tuple(c for c in controls if not c.smart) or _best(controls)
    prompts: dict[str, tuple[str, ...]] = {}
    for label, asked in (_label(e) for tag, e in tags if tag == "label"):
        if label and (label not in prompts or asked != (label,)):
            prompts[label] = asked
    return LabelConfig(kind, value, outputs, prompts)  # type: ignore[arg-type]


def _best(controls: tuple[Control, ...]) -> tuple[Control, ...]:
    """Of smart controls alone, those of the finest shape: the others prompt them."""
    shapes = [c.shape for c in controls]
    finest = min(shapes, key=list(BARE).index)
    return tuple(c for c in controls if c.shape == finest)


def _controls(tags: list[tuple[str, ElementTree.Element]], to_name: str, kind: str) -> Iterator[Control]:
    """Controls of one medium, in the order of the interface."""
    mine = [(tag, e) for tag, e in tags if e.get("toName") == to_name and e.get("name")]
    apart = next((e for tag, e in mine if tag == "labels"), None)
    for tag, e in mine:
        drawn = tag == "videorectangle" if kind == "video" else tag in LABELLED or tag in BARE
        if not drawn:
            continue
        owner = e if tag in LABELLED else apart
        labels = tuple(label for inner in (owner if owner is not None else ()) if (label := _label(inner)[0]))
        name = None if tag in LABELLED or apart is None else apart.get("name")
        smart = e.get("smart", "").lower() == "true"
        yield Control(e.get("name", ""), to_name, tag, labels, name, smart, _share(e.get("model_score_threshold")))


def _label(element: ElementTree.Element) -> tuple[str, tuple[str, ...]]:
    """A label and what to look for under it."""
    value = element.get("value") or ""
    given = [text.strip() for text in (element.get("predicted_values") or "").split(",")]
    return value, tuple(text for text in given if text) or (value,)


def _share(text: str | None) -> float | None:
    try:
        share = None if text is None else float(text)
    except ValueError:
        share = -1.0
    if share is not None and not 0 <= share <= 1:
        raise InputError(f"Got model_score_threshold={text!r}", "a number from 0 to 1")
    return share
