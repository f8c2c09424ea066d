"""X2Sam: the facade that everyone uses.

from x2sam import X2Sam
model = X2Sam.from_pretrained("nano")
result = model.segment("photo.jpg", "the rabbit")
result.save("rabbit.png")
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from x2sam.config import WEIGHTS, X2SamConfig
from x2sam.decoding.presence import presence_of
from x2sam.errors import CheckpointError, InputError
from x2sam.examples import Examples
from x2sam.media.opening import Clip, Source, open_media, open_pushed
from x2sam.model.modeling import X2SamModel
from x2sam.model.precision import check_dtype
from x2sam.model.prompt_maps import prompt_maps
from x2sam.names import cache_folder
from x2sam.processing import X2SamProcessor
from x2sam.requests import make_request
from x2sam.results.result import Result
from x2sam.speed import keep_memory_levels, set_image_size
from x2sam.tracking.association import Hungarian
from x2sam.tracking.engine import MAX_NEW_TOKENS, autocast
from x2sam.tracking.exemplars import read
from x2sam.tracking.frame_step import candidates_of, mask_on, segments_of
from x2sam.tracking.objects import ObjectManager
from x2sam.tracking.session import Session, answer_options
from x2sam.tracking.track import Track
from x2sam.types import FrameResult, Prompt

LOADING = {
    *("device_map", "quantization_config", "attn_implementation", "max_memory", "offload_folder", "offload_buffers"),
    *("low_cpu_mem_usage", "cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder"),
    *("use_safetensors", "variant", "tp_plan", "tp_size", "device_mesh", "key_mapping", "weights_only", "config"),
    *("ignore_mismatched_sizes", "state_dict", "proxies"),
}
"""Arguments of transformers' ``from_pretrained``."""
BATCH = 8
"""Images that `segment` puts through the network together, at most."""
RANDOM = "'tiny' has random weights; everything runs, but the masks mean nothing"


class X2Sam:
    """A model and its processor, ready to be asked about media."""

    def __init__(self, model: X2SamModel, processor: X2SamProcessor, name: str = "") -> None:
        self.model, self.processor, self.name = model.eval(), processor, name
        self.settings: dict[str, Any] = {}
        """What was left out for speed, by the arguments of `from_pretrained`."""
        for token, wanted in (
            ("<SEG>", model.config.seg_token_id),
            ("<p>", model.config.phrase_start_token_id),
            ("</p>", model.config.phrase_end_token_id),
        ):
            got = processor.tokenizer.convert_tokens_to_ids(token)
            if got != wanted:
                raise CheckpointError(
                    f"Got a tokenizer that gives {token} the id {got}",
                    f"{wanted}, as in the model's configuration",
                    "Load both from one folder",
                )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "auto",
        device: str = "auto",
        dtype: str | torch.dtype = "auto",
        image_size: int | None = None,
        memory_levels: int | Sequence[int] | None = None,
        runtime: str = "torch",
        **kwargs: Any,
    ) -> X2Sam:
        """Load a model.

        Args:
            name_or_path: a name that ships with the package or was pulled (``nano``, ``4b``), a folder, a name on the
                Hugging Face Hub, or ``tiny``: random weights, for trying out the machinery. ``auto`` takes nano, and
                tiny, with a warning, where no trained weights are.
            device: ``cpu``, ``cuda``, ``mps`` ...; ``auto`` takes the best there is.
            dtype: ``float32``, ``bfloat16``, ``float16``; ``auto`` takes float32 on CPU, else bfloat16 if the device
                has it.
            image_size: side of the frames that the mask branch sees, in pixels; a smaller one than the model's own is
                quicker and less exact.
            memory_levels: which of the pixel decoder's levels remember earlier frames, of those that the model has; 0
                is the coarsest and the quickest.
            runtime: ``torch``, or ``onnx``: the same model as graphs on ONNX Runtime, on the CPU (docs/onnx.md).
            kwargs: fields of the configuration (``memory_size``, ...), and what transformers' ``from_pretrained`` takes
                (``device_map``, ``quantization_config``, ...).

        Raises:
            InputError: an argument that neither knows; CheckpointError: weights that cannot be loaded.
        """
        check_settings(kwargs)
        if runtime not in ("torch", "onnx"):
            raise InputError(f"Got runtime={runtime!r}", "'torch' or 'onnx'")
        where = pick_device("cpu" if runtime == "onnx" and device == "auto" else device)
        kind = pick_dtype(dtype, where)
        if name_or_path == "auto":
            name_or_path = "nano" if "nano" in shipped() else "tiny"
            if name_or_path == "tiny":
                warnings.warn("No trained weights are in this package yet: " + RANDOM, stacklevel=2)
        if str(name_or_path) == "tiny":
            from x2sam.testing.tiny import tiny_model, tiny_processor

            fields = {name: value for name, value in kwargs.items() if name not in LOADING}
            loaded = cls(torch.nn.Module.to(tiny_model(**fields), where, kind), tiny_processor(), "tiny")
            return loaded._fit(image_size, memory_levels)
        source = find_weights(name_or_path)
        if runtime == "onnx":
            if (where.type, kind) != ("cpu", torch.float32) or image_size or memory_levels or kwargs:
                got = f"Got runtime='onnx' with device={device!r}, dtype={dtype!r} or changes of the model"
                raise InputError(got, "the CPU, float32 and the model as it is", "x2sam export onnx takes --set")
            return cls._on_graphs(str(name_or_path), source)
        try:
            model = X2SamModel.from_pretrained(source, dtype=kind, **kwargs)
            processor = X2SamProcessor.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"Got {str(name_or_path)!r}, which cannot be loaded ({error})",
                f"a folder or Hub name with a model and a processor, or one of: {', '.join(shipped())}",
                "Convert released weights with: x2sam pull",
            ) from error
        loaded = cls(model if "device_map" in kwargs else model.to(device=where), processor, str(name_or_path))
        return loaded._fit(image_size, memory_levels)

    @classmethod
    def _on_graphs(cls, name: str, source: str) -> X2Sam:
        from x2sam.onnx.runtime import OnnxModel, graphs_of

        def network() -> tuple[X2SamModel, X2SamProcessor]:
            loaded = cls.from_pretrained(source, "cpu", "float32")
            return loaded.model, loaded.processor

        folder = graphs_of(source, network)
        return cls(OnnxModel.load(folder), X2SamProcessor.from_pretrained(folder), f"{name}, onnx")

    def _fit(self, image_size: int | None, memory_levels: int | Sequence[int] | None) -> X2Sam:
        """Leave out what need not be exact."""
        if image_size is not None:
            set_image_size(self.model, self.processor, image_size)
            self.settings["image_size"] = image_size
        if memory_levels is not None:
            keep_memory_levels(self.model, memory_levels)
            self.settings["memory_levels"] = self.config.memory_levels
        return self

    @property
    def label(self) -> str:
        """The name, and what was left out."""
        return ", ".join([self.name, *(f"{name}={value}" for name, value in self.settings.items())])

    @property
    def config(self) -> X2SamConfig:
        return self.model.config

    def open(self, media: Source, kind: str | None = None, fps: float | None = None, history: int = 0) -> Session:
        """Open a medium for several prompts: it is read once. See `open_media` for what can be opened.

        history: frames of a stream that stay at hand for corrections; at least those that the language side looks at.
        """
        clip = media if isinstance(media, Clip) else open_media(media, kind=kind, fps=fps)  # type: ignore[arg-type]
        return Session(self.model, self.processor, clip, history)

    def live(self, fps: float | None = None, history: int = 0) -> Session:
        """A stream whose frames you push: ``track = model.live().track("the rabbit")``, then ``track.step(frame)``.

        fps: frames a second, where they come evenly. history: as in `open`.
        """
        return Session(self.model, self.processor, open_pushed(fps), history)

    def segment(
        self,
        image: Source,
        prompt: str | Sequence[str] | Prompt | None = None,
        regions: Any = None,
        task: str | None = None,
        **options: Any,
    ) -> Any:
        """Segment one image (or a whole clip), or a list of images.

        Args:
            image: a path, URL, bytes, array, PIL image ...; a list of such is a batch of pictures, with a `Result` for
                each (a film that is a list of frames goes to `track`).
            prompt: a phrase, a question, a list of category names; None describes the image with masks.
            regions: points, boxes, scribbles, polygons, masks (`requests.make_request` lists the forms).
            task: a name of the task table; None infers it from what is given.
            options: ``like``: what to find, shown in other media: `x2sam.example` or several, `Examples`, or the path
                of a saved set; ``unlike``: examples of what is not meant; ``same``: ``"kind"``, every such thing, or
                ``"object"``, that very one; ``prompt`` may name them then. ``everything``: masks of all there is,
                without a prompt; names then name them. `AnswerOptions` (``threshold``, ``mask_threshold``,
                ``max_objects``, ``min_area``, ``within``, ``form``, ...), ``on_text``, ``max_new_tokens``.

        Returns:
            A `Result` (of a list: a list of them): text and segments; ``result.found`` is False where nothing of what
            was asked for is there.
        """
        if isinstance(image, (list, tuple)):
            if options.get("like") is not None:  # read once for all of them
                if not isinstance(options["like"], Examples):
                    options["like"] = self._examples(options["like"], options.pop("unlike", ()))
                return [self.segment(one, prompt, regions, task, **options) for one in image]
            if options.get("everything"):
                return [self.segment(one, prompt, regions, task, **options) for one in image]
            if regions is not None and (not isinstance(regions, (list, tuple)) or len(regions) != len(image)):
                raise InputError(f"Got regions for a list of {len(image)} images", "a list with an entry for each")
            each: Any = prompt if _each(prompt, len(image)) else None
            results: list[Result] = []
            for start in range(0, len(image), BATCH):
                part = slice(start, start + BATCH)
                asked = each[part] if each else prompt
                marks = regions[part] if regions is not None else None
                results += self.segment_batch(image[part], asked, task, marks, **options)
            return results
        return self.open(image).segment(prompt, regions, task, **options)

    def examples(self, like: Any, unlike: Any = ()) -> Examples:
        """Read examples once, to be used as ``like`` on any number of media, and to be saved.

        like, unlike: `example` or several of what is meant, and of what is not. Those of one name are one thing.
        """
        return read(self.model, self.processor, like, unlike)

    def _examples(self, like: Any, unlike: Any) -> Examples:
        return Examples.load(like) if isinstance(like, (str, Path)) else self.examples(like, unlike)

    def track(
        self,
        video: Source,
        prompt: str | Sequence[str] | Prompt | None = None,
        regions: Any = None,
        task: str | None = None,
        fps: float | None = None,
        **options: Any,
    ) -> Track:
        """Segment a clip or a stream: iterate for a result per frame; ``finish()`` gives the whole.

        Args:
            video: a file, folder of frames, URL, camera number, list or iterator of pictures of unknown length ...
            fps: frames a second of sources that do not say.
            options: as in `segment`, ``identity`` (``x2sam``, or ``released`` as in the release), ``keep``: False
                forgets all but the newest results, for streams without end, ``refresh``: the language side looks at
                the newest frames again every so many frames, or (``"auto"``) when masks stop agreeing, ``every``: only
                every so many frames are decoded, and masks are propagated to those between them, and ``per_frame``: so
                many of the objects that were pointed at are decoded on a frame, in turn.
            prompt, regions, task: as in `segment`.
        """
        return self.open(video, kind="video", fps=fps).track(prompt, regions, task, **options)

    def chat(
        self,
        media: Source,
        messages: str | Sequence[dict[str, str]],
        on_text: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Result:
        """Answer in words about a medium.

        Args:
            media: an image or a video.
            messages: a question, or the conversation so far as ``[{"role": "user", "content": ...}, ...]``.
            on_text: called with every new piece of text as it is spoken.
            options: ``max_new_tokens``, and `AnswerOptions` for phrases that the answer grounds.
        """
        return self.open(media).chat(messages, on_text=on_text, **options)

    @torch.inference_mode()
    def segment_batch(
        self,
        images: Sequence[Source],
        prompt: Any = None,
        task: str | None = None,
        regions: Sequence[Any] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **options: Any,
    ) -> list[Result]:
        """Segment several images in one forward pass; equals `segment` one by one.

        ``prompt`` is one for all, or a list of `Prompt`, one for each image; so is ``regions`` a list with an entry for
        each. Tasks that speak run one by one.
        """
        clips = [open_media(image, kind="image") for image in images]
        prompts = prompt if _each(prompt, len(clips)) else [prompt] * len(clips)
        marked = regions if regions is not None else [None] * len(clips)
        asked = [make_request(c, p, r, task) for c, p, r in zip(clips, prompts, marked, strict=True)]
        chosen = answer_options(options, self.config)
        if not asked or len({r.task for r in asked}) > 1 or asked[0].task.generates or any(r.single for r in asked):
            return [
                self.open(c).segment(r.prompt, task=r.task.name, max_new_tokens=max_new_tokens, **options)
                for c, r in zip(clips, asked, strict=True)
            ]
        frames = [clip.frame_at(0) for clip in clips]
        encoded = [
            self.processor.encode(r.task, r.prompt, self.processor.see([frame], is_video=False))
            for r, frame in zip(asked, frames, strict=True)
        ]
        batch = self.processor.collate(encoded).to(self.model.device)
        batch.pop("labels")
        with autocast(self.model):
            features = self.model.encode(self.processor.frames(frames).to(self.model.device))
            guidance = self.model.understand(**batch, region_features=features).guidance
            best, side = asked[0].task.answer == "best", self.config.image_size
            maps = [prompt_maps([c.region for c in r.prompt.conditions], 0, side) for r in asked]
            drawn = pad_sequence(maps, batch_first=True).to(self.model.device)
            prediction, _ = self.model.segment(features, guidance, remember=False, alone=best, drawn=drawn)
        results = []
        for row, (clip, request) in enumerate(zip(clips, asked, strict=True)):
            conditions, objects = request.prompt.conditions, ObjectManager()
            objects.admit(0, conditions)
            prompt_masks = [mask_on(condition.region, 0, clip.size) for condition in conditions]
            candidates = candidates_of(
                request.task, conditions, chosen, prediction, clip.size, row, prompt_masks=prompt_masks
            )
            ids = Hungarian(objects).step(candidates, prediction.queries[row].float())
            sure = dict(enumerate(presence_of(request.task, prediction.class_logits[row], conditions, chosen)))
            frame = FrameResult(0, None, *clip.size, tuple(segments_of(candidates, ids, conditions, 0)), sure)
            results.append(Result(request.task.name, "", (frame,), request.prompt, clip))
        return results


def _each(prompt: Any, count: int) -> bool:
    return isinstance(prompt, (list, tuple)) and len(prompt) == count and all(isinstance(p, Prompt) for p in prompt)


# --- finding weights and places to run -----------------------------------------------------------------------------


def shipped() -> list[str]:
    """Names of the checkpoints in the package."""
    return sorted(p.parent.name for p in WEIGHTS.glob("*/processor_config.json")) if WEIGHTS.exists() else []


def find_weights(name_or_path: str | Path) -> str:
    """A folder for a shipped name, what was pulled under that name, or the name itself for the Hub."""
    name = str(name_or_path)
    for folder in (WEIGHTS / name, cache_folder() / name, Path(name)):
        if (folder / "config.json").exists():
            return str(folder)
    if Path(name).is_dir():
        raise CheckpointError(f"Got the folder {name} without a config.json", "a folder that save_pretrained wrote")
    if name in ("nano", "4b"):
        hint = "Convert the released weights with: x2sam pull 4b" if name == "4b" else "Use 'tiny' (random weights)"
        raise CheckpointError(f"Got {name!r}, whose weights are not on this machine", "weights", hint)
    return name


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise InputError for an argument that is neither a field of the configuration nor one of transformers."""
    known = set(inspect.signature(X2SamConfig).parameters) - {"kwargs"}
    for name in settings:
        if name not in known | LOADING:
            near = difflib.get_close_matches(name, known, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else "See: x2sam/config.py"
            raise InputError(f"Got the setting {name!r}", "a field of the model's configuration", hint)


def pick_device(device: str = "auto") -> torch.device:
    """The device called ``device``; ``auto`` prefers an accelerator."""
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(f"Got the device {device!r} ({error})", "a device of this machine, such as cpu") from error


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype called ``dtype``, if the device can compute in it."""
    if dtype == "auto":
        return torch.float32 if device.type in ("cpu", "mps") else torch.bfloat16
    check_dtype(dtype, device)
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype
