"""X2SamModel: media and tokens in, text states and masks out.

    understand()  once per clip    tokens, pictures, regions -> Guidance (and text)
    segment()     once per frame   frame, Guidance, MemoryBank -> Prediction, MemoryBank

`forward()` with labels walks the same two verbs and returns losses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel, DynamicCache, PreTrainedModel, initialization
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.sam2.modeling_sam2 import Sam2VisionModel
from transformers.utils import ModelOutput

from x2sam.config import WEIGHTS, X2SamConfig
from x2sam.errors import CheckpointError, InputError
from x2sam.model import efficientnet as _registered  # noqa: F401  the small backbone, by its model type
from x2sam.model.eyes import SharedEyes
from x2sam.model.frames import FrameFeatures, PixelDecoder
from x2sam.model.language import LanguageSide, Prefix, Reading, marker_spans, share
from x2sam.model.layers import Started
from x2sam.model.losses import Layer, Targets, alignment_loss, prompted_losses, segmentation_losses
from x2sam.model.mask_decoder import Alignment, ClassHead, Guidance, MaskDecoder, Prediction
from x2sam.model.mask_memory import FuserBlock, MemoryAttention, MemoryBank, MemoryEncoder
from x2sam.model.packed import load_packed
from x2sam.model.precision import check_dtype
from x2sam.model.prompt_maps import CHANNELS, STRIDE
from x2sam.model.prompted_head import PromptedHead, PromptedMasks, likeliest, pieces_of, prediction_of, recalled
from x2sam.model.recognition import EVIDENCE, Recognition, Viewed
from x2sam.model.region_sampler import RegionSampler, check_regions


@dataclass(frozen=True)
class Understanding:
    """What the language side made of a batch."""

    input_ids: Tensor
    """``[B, L]``, spoken tokens included."""
    states: Tensor
    """``[B, L, D_llm]``: the states that conditions are made of."""
    normed: Tensor | None
    """``[B, L, D_llm]``: the states that words are made of; None where no word was asked for."""
    guidance: Guidance


@dataclass
class X2SamOutput(ModelOutput):
    """Losses of a training step; every part is weighted as it enters the sum."""

    loss: Tensor | None = None
    loss_language: Tensor | None = None
    loss_segmentation: Tensor | None = None
    parts: dict[str, Tensor] | None = None


class X2SamModel(Started, PreTrainedModel):
    """The X2SAM network (arXiv 2605.00891)."""

    config_class = X2SamConfig
    config: X2SamConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules = [  # noqa: RUF012
        "MaskDecoderLayer",
        "MemoryAttentionLayer",
        "FuserBlock",
        "PixelDecoder",
        "Sam2VisionModel",
        "Qwen3VLTextDecoderLayer",
    ]

    language_side: Any = LanguageSide
    encoder_side: Any = Sam2VisionModel
    head_side: Any = PromptedHead
    """What the large parts are made of; another runtime (`x2sam.onnx.runtime`) puts its own there."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__(config)
        encoder_config = config.mask_encoder_config
        self.language = self.language_side(config)
        inner = ".language_model" if isinstance(config.language_config, Qwen3VLConfig) else ""
        self._tied_weights_keys = {
            "language.model.lm_head.weight": f"language.model.model{inner}.embed_tokens.weight",
        }
        if "language.model" in (config.apart or {}):  # tied when it is read
            self._tied_weights_keys = self.language.model._tied_weights_keys = {}
        self.mask_encoder = self.encoder_side(encoder_config)
        if self.language.eyes is not None:
            self.language.eyes.look_with(self._look, self.language.decoder.embed_tokens)
        queries = config.num_queries > 0
        self.pixel_decoder: Any = PixelDecoder(config) if queries else None
        self.mask_decoder: Any = MaskDecoder(config) if queries else None
        self.class_head: Any = ClassHead(config) if queries else None
        self.alignment = Alignment(config) if queries and config.alignment_weight else None
        words = config.lexical_conditions and config.recognition_channels
        self.recognition = Recognition(config) if words else None
        self.prompted_head = self.head_side(config) if config.prompted_widths else None
        self.memory_attention: Any = MemoryAttention(config) if queries else None
        self.memory_encoder: Any = MemoryEncoder(config) if queries else None
        self.no_memory = nn.Parameter(torch.zeros(config.hidden_dim))
        self.region_sampler = RegionSampler(
            config,
            stage_dim=encoder_config.backbone_channel_list[1],  # the list begins with the deepest stage
            language_dim=config.text_config.hidden_size,
        )
        apart = config.apart or {}
        self._keys_to_ignore_on_load_missing = [rf"{re.escape(name)}\..*" for name in apart]
        for module in (part for name in apart for part in self.get_submodule(name).modules()):
            if next(module.parameters(recurse=False), None) is not None:  # it is read, not drawn at random
                object.__setattr__(module, "_is_hf_initialized", True)
        self.without_language = False
        """In training: conditions are what their words say by themselves (`x2sam.train.stages`)."""
        self.without_decoder = False
        """In training: no masks are decoded; conditions learn from what the mask features answer to them."""
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FuserBlock):
            initialization.constant_(module.scale, 1e-6)
        elif isinstance(module, ClassHead) and module.logit_scale is not None:
            initialization.constant_(module.logit_scale, torch.tensor(1 / 0.07).log().item())
        elif isinstance(module, X2SamModel):
            initialization.normal_(module.no_memory, std=self.config.initializer_range)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As `transformers`' own; a ``dtype`` the device lacks and a damaged weight file get an `X2SamError`."""
        check_dtype(kwargs.get("dtype"), kwargs.get("device_map"))
        try:
            model = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
            model.read_apart()
            return model
        except SafetensorError as error:
            raise CheckpointError(
                f"Got a weight file that cannot be read, in {pretrained_model_name_or_path}: {error}",
                "whole files",
                "Download it again",
            ) from error

    def read_apart(self) -> None:
        """Fill in the tensors that are kept apart (`X2SamConfig.apart`)."""
        for name, file in (self.config.apart or {}).items():
            load_packed(self.get_submodule(name), WEIGHTS / file)
        if self.config.apart and self.config.tie_word_embeddings:
            self.language.model.lm_head.weight = self.language.decoder.embed_tokens.weight

    def save_pretrained(self, save_directory: Any, *args: Any, state_dict: Any = None, **kwargs: Any) -> None:
        """As `transformers`' own, without tensors that are kept apart."""
        if self.config.apart:
            apart = tuple(f"{name}." for name in self.config.apart)
            whole = self.state_dict() if state_dict is None else state_dict
            state_dict = {name: tensor for name, tensor in whole.items() if not name.startswith(apart)}
        super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)  # type: ignore[misc]

    def get_input_embeddings(self) -> nn.Module:
        return self.language.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language.decoder.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        return self.language.model.lm_head

    # --- the two verbs -----------------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> FrameFeatures:
        """Mask-encode square frames ``[N, 3, image_size, image_size]``."""
        side = self.config.image_size
        if frames.shape[-2:] != (side, side):
            raise InputError(f"Got frames of shape {tuple(frames.shape)}", f"[N, 3, {side}, {side}]")
        seen = self.mask_encoder.backbone(frames.to(self.no_memory.dtype))
        stages, recognition = tuple(seen.intermediate_hidden_states), getattr(seen, "recognition", None)
        maps = self.mask_encoder.neck(stages)[0] if self.pixel_decoder is not None else ()
        return FrameFeatures(tuple(reversed(maps[-3:])), stages, recognition)

    def _look(self, frames: Tensor) -> Tensor:
        """What the language side sees of frames ``[N, 3, H, W]``, if it shares the eyes (`eyes.Look`)."""
        return self.mask_encoder.backbone(frames).recognition

    def understand(self, *args: Any, on_token: Callable[[int], None] | None = None, **kwargs: Any) -> Understanding:
        """As `understanding`, in one go; ``on_token`` is called with every new token as it is spoken."""
        steps = self.understanding(*args, **kwargs)
        while True:
            try:
                token = next(steps)
            except StopIteration as end:
                return end.value
            if on_token is not None:
                on_token(token)

    def understanding(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        region_masks: Tensor | None = None,
        region_frames: Tensor | None = None,
        region_features: FrameFeatures | None = None,
        region_embeddings: Tensor | None = None,
        condition_ids: Tensor | None = None,
        prefix: Prefix | None = None,
        max_new_tokens: int = 0,
        stop_ids: tuple[int, ...] = (),
        conditions_in_answer: bool = False,
        speaks: bool = False,
    ) -> Generator[int, None, Understanding]:
        """Read a batch once per clip, yielding every token that is spoken; returns what guides its masks.

        Args:
            input_ids: ``[B, L]``, padded on the right. Picture tokens as Qwen3-VL's, one per merged patch; each region
                takes ``region_tokens`` times ``region_token_id``.
            attention_mask: ``[B, L]``, 1 for real tokens; None means all.
            pixel_values, image_grid_thw, pixel_values_videos, video_grid_thw: as Qwen3-VL's.
            region_masks: ``[N, image_size, image_size]`` bool, all regions of the batch in order of their slots.
            region_frames: ``[N]``, the row of ``region_features`` each region was drawn on.
            region_features: the frames that carry regions, encoded.
            region_embeddings: ``[N, tokens, D]``, in place of those three: regions of other media (examples).
            condition_ids: ``[B, L]``; None finds them between the markers.
            prefix: the beginning of ``input_ids``, read before (`read_prefix`); then B = 1 and pixels are not needed.
            max_new_tokens: greater than 0 lets the model answer in its own words; then B = 1.
            stop_ids: tokens that end an answer.
            conditions_in_answer: conditions are what the answer, rather than the prompt, puts between the markers.
            speaks: the states that words are made of are wanted, too, for a loss.
        """
        regions, examples = region_embeddings, None
        if region_masks is not None and len(region_masks):
            if region_features is None or region_frames is None:
                raise InputError("Got region masks alone", "region_features and region_frames with them")
            regions = self.region_sampler(region_features, region_masks, region_frames)
            examples = self._examples(region_features, region_masks, region_frames)
        start = prefix.length if prefix is not None else 0
        if prefix is not None or max_new_tokens:
            if len(input_ids) != 1 or (attention_mask is not None and not bool(attention_mask.all())):
                raise InputError(
                    f"Got a batch of {len(input_ids)}",
                    "one sample without padding when text is generated or a prefix is used",
                )
            attention_mask = None
        reading = self.language.embed(
            input_ids[:, start:], pixel_values, image_grid_thw, pixel_values_videos, video_grid_thw, regions
        )
        whole = max_new_tokens > 0 or speaks
        cache = self._cache(prefix, generating=max_new_tokens > 0)
        if prefix is not None:
            image_grid_thw, video_grid_thw = prefix.image_grid_thw, prefix.video_grid_thw
        positions = self.language.positions(input_ids, attention_mask, image_grid_thw, video_grid_thw)
        states, normed = self.language.read(
            reading,
            attention_mask,
            cache,
            None if positions is None else positions[..., start:],
            whole,
        )
        ids, spelled = input_ids[:, start:], reading.embeddings
        if max_new_tokens and cache is not None and normed is not None:
            next_position = input_ids.shape[1] if positions is None else int(positions.max()) + 1
            new_ids, new_states = yield from self.language.speak(
                states, normed, cache, max_new_tokens, stop_ids, next_position
            )
            prompt_length = ids.shape[1]
            ids, states = torch.cat([ids, new_ids], 1), torch.cat([states, new_states], 1)
            spelled = torch.cat([spelled, self.language.spell(new_ids)], 1)
        if condition_ids is None:
            spans = ids if attention_mask is None else ids.masked_fill(~attention_mask.bool(), -1)
            if max_new_tokens:  # what was asked stays what was asked, whatever the answer puts between markers
                spans = spans.clone()
                spans[:, :prompt_length] = spans[:, :prompt_length] if not conditions_in_answer else -1
                spans[:, prompt_length:] = spans[:, prompt_length:] if conditions_in_answer else -1
            condition_ids = marker_spans(spans, self.config.phrase_start_token_id, self.config.phrase_end_token_id)
        guidance = self._guide(states, condition_ids, ids, spelled, examples)
        return Understanding(torch.cat([input_ids[:, :start], ids], 1), states, normed, guidance)

    def _guide(
        self,
        states: Tensor | None,
        condition_ids: Tensor,
        input_ids: Tensor,
        spelled: Tensor,
        examples: Tensor | None,
    ) -> Guidance:
        """Conditions and what they look like; ``examples`` ``[N, R + 1]``: regions' looks, in order of their slots."""
        if not self.config.lexical_conditions:
            return self.language.guide(states, condition_ids, input_ids, None)
        meanings = self.language.meanings(input_ids, condition_ids, spelled)
        guidance = self.language.guide(states, condition_ids, input_ids, meanings)
        if self.recognition is None:
            return guidance
        looks = self.recognition.looks(meanings)
        if examples is not None:
            slots = (input_ids == self.config.region_token_id) & (condition_ids >= 0)
            first = slots.long().cumsum(1) % self.config.region_tokens == 1 % self.config.region_tokens
            rows, places = (slots & first).nonzero(as_tuple=True)
            looks = looks.index_put((rows, condition_ids[rows, places]), examples[: len(rows)].to(looks.dtype))
        return replace(guidance, looks=looks)

    def _examples(self, features: FrameFeatures, masks: Tensor, frames: Tensor) -> Tensor | None:
        """What regions look like to the recognition features ``[N, R]``."""
        if self.recognition is None or features.recognition is None:
            return None
        return self.recognition.looks_of(features.recognition[frames], masks)

    def _cache(self, prefix: Prefix | None, generating: bool) -> DynamicCache | None:
        if prefix is not None:
            surplus = prefix.cache.get_seq_length() - prefix.length
            if surplus:  # what the last prompt added
                prefix.cache.crop(-surplus)
            return prefix.cache
        return self.language.cache() if generating else None

    def read_prefix(self, input_ids: Tensor, whole: bool = True, **pixels: Tensor | None) -> Prefix:
        """Read the shared beginning ``[1, L]`` of several prompts (the medium) once; see `understand`.

        whole: False runs the layers that conditions need; what follows can then not be spoken.
        """
        cache = self.language.cache()
        positions = self.language.positions(input_ids, None, pixels.get("image_grid_thw"), pixels.get("video_grid_thw"))
        whole = whole or not self.config.conditions_layer
        self.language.read(self.language.embed(input_ids, **pixels), None, cache, positions, whole)
        return Prefix(input_ids.shape[1], cache, pixels.get("image_grid_thw"), pixels.get("video_grid_thw"), whole)

    def prepare(self, features: FrameFeatures) -> FrameFeatures:
        """Run the pixel decoder now, for frames that several prompts will look at without a memory."""
        return replace(features, pixels=self._pixels(features))

    def _pixels(self, features: FrameFeatures) -> tuple[list[Tensor], Tensor]:
        return features.pixels or self.pixel_decoder([x + self.no_memory[:, None, None] for x in features.fpn])

    def segment(
        self,
        frame: Tensor | FrameFeatures,
        guidance: Guidance | None,
        bank: MemoryBank | None = None,
        remember: bool = True,
        alone: bool = False,
        drawn: Tensor | None = None,
    ) -> tuple[Prediction, MemoryBank]:
        """Find the masks of one frame of every sample.

        Args:
            frame: ``[B, 3, image_size, image_size]``, or the same already encoded.
            guidance: from `understand`; None in phase 1.
            bank: what came back for the previous frame; None at the first.
            remember: False saves the work of remembering this frame, where no frame follows.
            alone: each condition has one mask. A model with a prompted head answers with it then (one without queries
                always), without the bank: what it remembers is drawn.
            drawn: ``[B, C, len(CHANNELS), h, w]``, what is drawn or remembered of every condition on this frame
                (`x2sam.model.prompt_maps`); only the prompted head looks at it.

        Returns:
            The prediction and the bank for the next frame.
        """
        if self._draws(alone) and guidance is not None:
            features = frame if isinstance(frame, FrameFeatures) else self.encode(frame)
            known = self._recognise(guidance, features.recognition)
            own = likeliest(guidance, None if alone else known)
            masks = self.prompted(features, guidance, own, drawn, known)
            return (prediction_of if alone else pieces_of)(masks, own, guidance), bank or MemoryBank()
        layers, bank, _ = self._segment(frame, guidance, bank or MemoryBank(), remember, every_layer=False)
        return layers[-1], bank

    def _segment(
        self,
        frame: Tensor | FrameFeatures,
        guidance: Guidance | None,
        bank: MemoryBank,
        remember: bool,
        every_layer: bool,
    ) -> tuple[list[Prediction], MemoryBank, Tensor | None]:
        features = frame if isinstance(frame, FrameFeatures) else self.encode(frame)
        levels, mask_features = self.pixel_decoder(features.fpn) if bank.memories else self._pixels(features)
        recalled = [
            self.memory_attention(level, [(bank.next_index - m.index, m.levels[i]) for m in bank.memories])
            if bank.memories and i in self.config.memory_levels
            else level
            for i, level in enumerate(levels)
        ]
        answers = self._align(guidance, mask_features, features.recognition)
        layers = [
            Prediction(self._classify(queries, masks, guidance, answers), masks, queries)
            for queries, masks in self.mask_decoder(recalled, mask_features, guidance, every_layer)
        ]
        if remember and self.config.memory_size and not self.config.class_agnostic:
            encoded = self.memory_encoder(levels, layers[-1].class_logits, layers[-1].mask_logits)
            bank = bank.push({i: self.memory_attention.project(m) for i, m in encoded.items()}, self.config.memory_size)
        return layers, bank, answers

    def _align(self, guidance: Guidance | None, mask_features: Tensor, recognition: Tensor | None) -> Tensor | None:
        """What the features alone, and where they are, say of every condition, ``[B, C, h, w]``."""
        if self.alignment is None or guidance is None:
            return None
        answers = self.alignment(guidance.conditions[:, :-1], mask_features)
        known = self._recognise(guidance, recognition)
        if known is None:
            return answers
        return answers + F.interpolate(known, answers.shape[-2:], mode="bilinear", align_corners=False)

    def _draws(self, alone: bool) -> bool:
        """Whether the prompted head answers rather than queries."""
        return self.prompted_head is not None and (alone or self.mask_decoder is None)

    def _recognise(self, guidance: Guidance | None, recognition: Tensor | None) -> Tensor | None:
        """What the recognition features answer to every condition, as logits ``[B, C, h, w]``."""
        if self.recognition is None or guidance is None or guidance.looks is None or recognition is None:
            return None
        return self.recognition(guidance.looks, recognition)

    def _viewed(self, recognition: Tensor | None, maps: Tensor) -> Viewed | None:
        """Frames as the classifier sees them; None without one, and where all that is meant is drawn."""
        eyes = self.language.visual
        if self.recognition is None or recognition is None or not isinstance(eyes, SharedEyes):
            return None
        if bool(maps.flatten(1).any(1).all()):
            return None
        return self.recognition.view(recognition, eyes.classifier)

    def _evidence(self, guidance: Guidance, viewed: Viewed | None) -> Tensor:
        """Whether each condition is there, by what is seen ``[B, C, EVIDENCE]``; zeros where nothing tells."""
        if self.recognition is None or guidance.looks is None or viewed is None:
            return guidance.conditions.new_zeros(*guidance.conditions.shape[:2], EVIDENCE)
        return self.recognition.evidence(guidance.looks, viewed)

    def prompted(
        self,
        features: FrameFeatures,
        guidance: Guidance,
        own: Tensor,
        drawn: Tensor | None,
        known: Tensor | None,
    ) -> PromptedMasks:
        """What the prompted head draws for the pairs ``own`` ``[P, 2]`` of sample and condition."""
        assert self.prompted_head is not None
        rows, columns = own.unbind(1)
        cells = self.config.image_size // STRIDE
        maps = guidance.conditions.new_zeros(len(own), len(CHANNELS), cells, cells)
        if drawn is not None:
            maps = drawn.to(maps)[rows, columns]
        answers = maps.new_zeros(len(own), 1, 1) if known is None else known[rows, columns]
        looks = self.prompted_head.look(features.maps(), features.recognition)
        evidence = self._evidence(guidance, self._viewed(features.recognition, maps))[rows, columns]
        conditions = guidance.conditions[rows, columns]
        return self.prompted_head(looks, rows, maps=maps, answers=answers, conditions=conditions, evidence=evidence)

    def draw(
        self, features: FrameFeatures, prompts: Sequence[tuple[Guidance, Tensor | None, Tensor | None, bool]]
    ) -> list[Prediction]:
        """What the prompted head answers to several prompts on one frame, in one pass; as `segment` one by one.

        Args:
            features: of one frame.
            prompts: of each its guidance (one sample), its conditions to draw ``[n]`` (None: all), what is drawn or
                remembered of those ``[n, len(CHANNELS), h, w]``, and whether each of them has one mask.

        Returns:
            A prediction for each prompt, whose conditions are those that were drawn.
        """
        assert self.prompted_head is not None
        cells = self.config.image_size // STRIDE
        pairs, told, maps, answers, shares = [], [], [], [], []
        for guidance, places, drawn, alone in prompts:
            some = guidance if places is None else guidance.only(places)
            known = self._recognise(some, features.recognition)
            own = likeliest(some, None if alone else known)
            columns = own[:, 1]
            pairs.append((some, own))
            told.append(some.conditions[0, columns])
            empty = told[-1].new_zeros(len(own), len(CHANNELS), cells, cells) if drawn is None else None
            maps.append(empty if drawn is None else drawn.to(told[-1])[columns])
            answers.append(None if known is None else known[0, columns])
            shares.append(len(own))
        grid = next((a.shape[-2:] for a in answers if a is not None), (1, 1))
        said = [a if a is not None else t.new_zeros(len(t), *grid) for a, t in zip(answers, told, strict=True)]
        rows = torch.zeros(sum(shares), dtype=torch.long, device=told[0].device)
        looks = self.prompted_head.look(features.maps(), features.recognition)
        given = {"maps": maps, "answers": said, "conditions": told}
        joined = {name: torch.cat(parts) for name, parts in given.items()}
        viewed = self._viewed(features.recognition, joined["maps"])
        evidence = torch.cat([self._evidence(some, viewed)[0, own[:, 1]] for some, own in pairs])
        drawn_all = self.prompted_head(looks, rows, **joined, evidence=evidence)
        found = []
        for (some, own), part, (_, _, _, alone) in zip(pairs, drawn_all.split(shares), prompts, strict=True):
            found.append((prediction_of if alone else pieces_of)(part, own, some))
        return found

    def _classify(self, queries: Tensor, masks: Tensor, guidance: Guidance | None, answers: Tensor | None) -> Tensor:
        """Class logits ``[B, Q, C+1]``: what a query says, and what the features inside of its mask say."""
        logits = self.class_head(queries, guidance)
        if answers is None or guidance is None:
            return logits
        inside = masks.detach().sigmoid().flatten(2)  # [B, Q, h*w]
        inside = inside / inside.sum(-1, keepdim=True).clamp_min(1e-6)
        means = inside @ answers.flatten(2).transpose(1, 2)  # [B, Q, C]
        means = means.masked_fill(~guidance.condition_mask[:, None, :-1], 0.0)
        return torch.cat([logits[..., :-1] + means, logits[..., -1:]], -1)

    # --- training ----------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        frames: Tensor | None = None,
        frame_mask: Tensor | None = None,
        targets: Sequence[Sequence[Targets]] | None = None,
        region_masks: Tensor | None = None,
        region_frames: Tensor | None = None,
        share_conditions: bool = False,
        alone: bool = False,
        drawn: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
    ) -> X2SamOutput:
        """Losses of a batch of clips (an image is a clip of one frame).

        Args:
            input_ids, attention_mask, pixel_values, image_grid_thw, pixel_values_videos, video_grid_thw: as in
                `understand`; ``input_ids`` None is phase 1.
            labels: ``[B, L]``, -100 where the text is not supervised.
            frames: ``[B, T, 3, image_size, image_size]``, shorter clips padded at their end.
            frame_mask: ``[B, T]`` bool, True for real frames; None means all.
            targets: per sample and real frame, the masks to be found; class ids count the sample's own conditions.
            region_masks: ``[N, image_size, image_size]``.
            region_frames: ``[N]``, index b * T + t of the frame each region was drawn on.
            share_conditions: the phrases of the other samples serve as negatives.
            alone: each condition has one mask, as in `segment`.
            drawn: ``[B, T, C, len(CHANNELS), h, w]``, what is drawn or remembered on every frame.
        """
        features, prompted = None, self._draws(alone)
        if prompted and self.without_decoder:
            targets = None
        if frames is not None and (targets is not None or region_masks is not None):
            features = self.encode(frames.flatten(0, 1))
        guidance, loss_language, marked = None, None, None
        if features is not None and region_masks is not None and region_frames is not None and len(region_masks):
            check_regions(region_masks, region_frames, len(features.stage), self.config.image_size)
            used, region_frames = region_frames.unique(return_inverse=True)
            marked = features[used]
        if input_ids is not None and self.without_language:
            ids = input_ids if attention_mask is None else input_ids.masked_fill(~attention_mask.bool(), -1)
            markers = self.config.phrase_start_token_id, self.config.phrase_end_token_id
            regions = examples = None
            if marked is not None and region_masks is not None and region_frames is not None:
                regions = self.region_sampler(marked, region_masks, region_frames)
                examples = self._examples(marked, region_masks, region_frames)
            spelled = self.language.spell(input_ids, regions)
            guidance = self._guide(None, marker_spans(ids, *markers), ids, spelled, examples)
        elif input_ids is not None:
            understanding = self.understand(
                input_ids,
                attention_mask,
                region_masks=region_masks,
                region_frames=region_frames,
                region_features=marked,
                pixel_values=pixel_values,
                image_grid_thw=image_grid_thw,
                pixel_values_videos=pixel_values_videos,
                video_grid_thw=video_grid_thw,
                speaks=labels is not None,
            )
            guidance = understanding.guidance
            if labels is not None and understanding.normed is not None:
                loss_language = self.language.loss(understanding.normed, labels)
        if guidance is not None and share_conditions and not prompted:
            guidance = share(guidance)
        loss_segmentation, parts = None, None
        if features is not None and targets is not None:
            assert frames is not None
            if prompted and guidance is not None:
                parts = self._prompted_losses(features, frames.shape[:2], frame_mask, guidance, targets, drawn)
            else:
                parts = self._segmentation_losses(features, frames.shape[:2], frame_mask, guidance, targets)
            loss_segmentation = torch.stack(list(parts.values())).sum() if parts else None
        losses = [loss for loss in (loss_language, loss_segmentation) if loss is not None]
        return X2SamOutput(
            loss=torch.stack(losses).sum() if losses else None,
            loss_language=loss_language,
            loss_segmentation=loss_segmentation,
            parts=parts,
        )

    def _prompted_losses(
        self,
        features: FrameFeatures,
        clips: torch.Size,
        frame_mask: Tensor | None,
        guidance: Guidance,
        targets: Sequence[Sequence[Targets]],
        drawn: Tensor | None,
    ) -> dict[str, Tensor]:
        """Every real frame by itself, or, where ``drawn`` tells what is remembered, one after the other."""
        batch, length = clips
        real = torch.ones(batch, length, dtype=torch.bool) if frame_mask is None else frame_mask.cpu()
        real = real & guidance.has_seg.cpu()[:, None]
        walks = drawn is not None and length > 1
        samples, times = real.nonzero().unbind(1)
        steps = [times == t for t in range(length)] if walks else [torch.ones_like(times, dtype=torch.bool)]
        found, wanted = list[PromptedMasks](), list[Targets]()
        owned, answers = list[Tensor](), list[tuple[Tensor, Targets]]()
        before: dict[tuple[int, int], Tensor] = {}
        for step in steps:
            rows, at = samples[step].to(features.stage.device), times[step].to(features.stage.device)
            told, shown = guidance.select(rows), features[rows * length + at]
            counts = told.num_conditions.tolist()
            own = torch.tensor([(i, c) for i, n in enumerate(counts) for c in range(int(n))], device=rows.device)
            if not len(own):
                continue
            maps = None if drawn is None else drawn[rows, at]
            if maps is not None and before:
                maps = recalled(maps, own, before, rows)
            known = self._recognise(told, shown.recognition)
            masks = self.prompted(shown, told, own, maps, known)
            if walks:
                before = {(int(rows[i]), int(c)): masks.logits[p, 0].detach() for p, (i, c) in enumerate(own.tolist())}
            here = [targets[b][t] for b, t in zip(rows.tolist(), at.tolist(), strict=True)]
            if known is not None and drawn is None:  # what is drawn means an object, not all that looks like it
                answers += [(known[i, : int(n)], here[i]) for i, n in enumerate(counts)]
            found.append(masks)
            owned.append(own + own.new_tensor([len(wanted), 0]))
            wanted += here
        if not found:
            return {}
        parts = prompted_losses(PromptedMasks.cat(found), torch.cat(owned), wanted, self.config)
        if answers:
            parts["loss_align"] = self.config.alignment_weight * alignment_loss(answers)
        return parts

    def _segmentation_losses(
        self,
        features: FrameFeatures,
        clips: torch.Size,
        frame_mask: Tensor | None,
        guidance: Guidance | None,
        targets: Sequence[Sequence[Targets]],
    ) -> dict[str, Tensor]:
        """Decode every clip frame by frame and score the frames that are real and whose sample has a ``<SEG>``."""
        batch, length = clips
        rows = torch.arange(batch, device=features.stage.device)
        if guidance is not None:
            rows = rows[guidance.has_seg]
            guidance = guidance.select(rows)
        if not len(rows):
            return {}
        bank = MemoryBank()
        layers: list[list[Layer]] = []
        aligned: list[tuple[Tensor, Targets]] = []
        wanted: list[Targets] = []
        counts = guidance.num_conditions.tolist() if guidance is not None else [0] * batch
        for t in range(length):
            shown, predictions = features[rows * length + t], list[Prediction]()
            if self.without_decoder:
                answers = self._align(guidance, self._pixels(shown)[1], shown.recognition)
            else:
                predictions, bank, answers = self._segment(shown, guidance, bank, t + 1 < length, every_layer=True)
            per_row = [list(map(Layer, p.class_logits.unbind(), p.mask_logits.unbind())) for p in predictions]
            for i, row in enumerate(rows.tolist()):
                if frame_mask is not None and not frame_mask[row, t]:
                    continue
                wanted.append(targets[row][t])
                layers.append([layer[i] for layer in per_row])
                if answers is not None:
                    aligned.append((answers[i, : counts[i]], targets[row][t]))
        parts = segmentation_losses(layers, wanted, self.config)
        if aligned:
            parts["loss_align"] = self.config.alignment_weight * alignment_loss(aligned)
        return parts


AutoModel.register(X2SamConfig, X2SamModel, exist_ok=True)

__all__ = ["FrameFeatures", "Prediction", "Reading", "Understanding", "X2SamModel", "X2SamOutput"]
