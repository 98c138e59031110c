"""One mistake at a time, made in a reference model that has been loaded: text models and the Qwen families.

A mistake that changes more than the model gives what undoes it. `MISTAKES`: what each suite must catch.
"""

from unittest import mock

import torch
import transformers
from torch import nn

import trace_hf


def rounding(model):
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.mul_(1 + 1e-7 * torch.randn(parameter.shape, generator=generator))


def erf_instead_of_tanh(model):
    for block in model.model.visual.blocks:
        block.mlp.act_fn = nn.GELU()


def gelu_instead_of_quick(model):
    for block in model.model.visual.blocks:
        block.mlp.act = nn.GELU()


def tanh_in_mergers(model):
    for module in model.model.visual.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.GELU):
                setattr(module, name, nn.GELU(approximate="tanh"))


def vision_epsilon(value):
    def change(model):
        for module in model.model.visual.modules():
            for field in ("eps", "variance_epsilon"):
                if isinstance(getattr(module, field, None), float):
                    setattr(module, field, value)
    return change


def text_epsilon(value):
    def change(model):
        text = getattr(model.model, "language_model", model.model)
        for module in text.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = value
    return change


def half_pixel_positions(model):
    model.model.visual.interpolation_align_corners = False


def shifted_deepstack(model):
    indexes = list(model.model.visual.deepstack_visual_indexes)
    model.model.visual.deepstack_visual_indexes = [index + 1 for index in indexes]


def no_deepstack(model):
    text = model.model.language_model
    text._deepstack_process = lambda hidden, mask, rows: hidden


def contiguous_sections(model):
    rotary = model.model.language_model.rotary_emb

    def recompose(freq):
        parts = [freq[i, ..., start:end] for i, (start, end) in enumerate(spans)]
        joined = torch.cat(parts, dim=-1)
        return torch.cat((joined, joined), dim=-1)

    ends = [sum(rotary.mrope_section[: i + 1]) for i in range(3)]
    spans = list(zip([0, *ends[:2]], ends))
    rotary.recomposition_frequencies = recompose


def base_of_rope(factor):
    def change(model):
        text = getattr(model.model, "language_model", model.model)
        text.rotary_emb.inv_freq.mul_(factor ** torch.linspace(0, 1, len(text.rotary_emb.inv_freq)))
    return change


def full_attention_everywhere(model):
    model.model.visual.fullatt_block_indexes = list(range(len(model.model.visual.blocks)))


def wrong_full_layers(model):
    model.model.visual.fullatt_block_indexes = [i - 1 for i in model.model.visual.fullatt_block_indexes]


def no_bias_on_patches(model):
    model.model.visual.patch_embed.proj.bias.data.zero_()


def one_temporal_slice(model):
    weight = model.model.visual.patch_embed.proj.weight.data
    weight[:, :, 1] = weight[:, :, 0]


def windows_of_released_models(model):
    model.model.visual.window_size = 112


def full_layers_evenly(model):
    model.model.visual.fullatt_block_indexes = list(range(1, len(model.model.visual.blocks), 2))


def sections_reversed(model):
    rotary = model.model.language_model.rotary_emb
    rotary.mrope_section = rotary.mrope_section[::-1]


def frequencies_of_llama(stretch):
    """Frequencies that are each multiplied by `stretch` of the share of the longest wave that it is."""
    def change(model):
        rope = model.config.rope_parameters
        frequencies = model.model.rotary_emb.inv_freq
        places = torch.arange(len(frequencies), dtype=torch.float32) / len(frequencies)
        plain = rope["rope_theta"] ** -places
        waves = rope["original_max_position_embeddings"] * plain / (2 * torch.pi)
        frequencies.copy_(plain * stretch(waves, rope))
    return change


def no_llama_stretching(waves, rope):
    return torch.ones_like(waves)


def all_stretched(waves, rope):
    return torch.full_like(waves, 1 / rope["factor"])


def stretched_without_a_ramp(waves, rope):
    middle = (rope["low_freq_factor"] + rope["high_freq_factor"]) / 2
    return torch.where(waves < middle, 1 / rope["factor"], 1.0)


# Videos.


def library_positions(model):
    patch = mock.patch.object(trace_hf, "trained_positions", lambda model, inputs: None)
    patch.start()
    return patch.stop


def frames_that_see_each_other(model):
    plain = transformers.vision_utils.get_vision_cu_seqlens
    patch = mock.patch.object(
        transformers.vision_utils, "get_vision_cu_seqlens",
        lambda grid, merge_temporal=False, kwargs=None: plain(grid, merge_temporal=True, kwargs=kwargs),
    )
    patch.start()
    return patch.stop


def videos_changed(change):
    """Videos `(frames, frames a second)` that are not those of the request when the processor gets them."""
    def patched(model):
        plain = trace_hf.preprocess

        def preprocess(processor, rendered, images, videos, sizes):
            return plain(processor, rendered, images, [change(*video) for video in videos], sizes)

        patch = mock.patch.object(trace_hf, "preprocess", preprocess)
        patch.start()
        return patch.stop
    return patched


def black_end(frames, fps):
    """An odd last frame beside a black one."""
    return (torch.cat([frames, torch.zeros_like(frames[:1])]) if len(frames) % 2 else frames), fps


def marks_of_first_frames(model):
    processor = transformers.Qwen3VLProcessor
    patch = mock.patch.object(
        processor, "_calculate_timestamps", lambda self, indices, fps, merge=2: [i / fps for i in indices[::merge]]
    )
    patch.start()
    return patch.stop


def frames_inside_the_marks(model):
    plain = trace_hf.preprocess
    pad = "<|vision_start|><|video_pad|><|vision_end|>"

    def preprocess(processor, rendered, *more):
        return plain(processor, rendered.replace(pad, f"<|vision_start|>{pad}<|vision_end|>"), *more)

    patch = mock.patch.object(trace_hf, "preprocess", preprocess)
    patch.start()
    return patch.stop


def pace_of_released_models(model):
    model.config.vision_config.tokens_per_second = 2


def frames_at_one_time(model):
    plain = model.model.get_vision_position_ids

    def positions(*args, **more):
        axes = plain(*args, **more).clone()
        axes[0] = axes[0, 0]
        return axes

    model.model.get_vision_position_ids = positions


COMMON = {
    "tanh GELU in the mergers": tanh_in_mergers,
    "vision epsilon 1e-5": vision_epsilon(1e-5),
    "second temporal kernel ignored": one_temporal_slice,
}
TEXT = {
    "text epsilon 0": text_epsilon(0.0),
    "text epsilon tenfold": text_epsilon(1e-5),
    "rope base 10 % off": base_of_rope(1.1),
}
QWEN3 = COMMON | TEXT | {
    "erf GELU in the blocks": erf_instead_of_tanh,
    "half-pixel position table": half_pixel_positions,
    "deepstack from the layer after": shifted_deepstack,
    "deepstack rows not added": no_deepstack,
    "rope sections contiguous": contiguous_sections,
    "patch bias missing": no_bias_on_patches,
}
QWEN2_VIDEOS = COMMON | TEXT | {
    "text behind the library's position": library_positions,
    "frames see each other": frames_that_see_each_other,
    "odd frames end in black": videos_changed(black_end),
    "all frames at one time": frames_at_one_time,
}
QWEN25_VIDEOS = QWEN2_VIDEOS | {
    "one frame a second": videos_changed(lambda frames, fps: (frames, 1.0)),
}
QWEN3_VIDEOS = COMMON | TEXT | {
    "deepstack from the layer after": shifted_deepstack,
    "deepstack rows not added": no_deepstack,
    "half-pixel position table": half_pixel_positions,
    "frames see each other": frames_that_see_each_other,
    "odd frames end in black": videos_changed(black_end),
    "one frame a second": videos_changed(lambda frames, fps: (frames, 1.0)),
    "times of first frames": marks_of_first_frames,
    "frames inside the template's marks": frames_inside_the_marks,
}
MISTAKES = {
    "qwen3vl": QWEN3,
    "qwen3vl-mixed": QWEN3 | {"text epsilon tenfold": text_epsilon(1e-6)},
    "qwen3vl-moe": QWEN3,
    "qwen2vl": COMMON | TEXT | {"erf GELU in the blocks": gelu_instead_of_quick},
    "qwen2.5vl": COMMON | TEXT | {
        "full attention everywhere": full_attention_everywhere,
        "full attention one layer early": wrong_full_layers,
    },
    "qwen2.5vl-mixed": COMMON | TEXT | {
        "windows of 112 pixels": windows_of_released_models,
        "every second layer full": full_layers_evenly,
        "full attention everywhere": full_attention_everywhere,
        "full attention one layer early": wrong_full_layers,
        "rope sections reversed": sections_reversed,
    },
    "qwen2.5vl-mixed-video": QWEN25_VIDEOS | {
        "pace of released models": pace_of_released_models,
        "windows of 112 pixels": windows_of_released_models,
        "every second layer full": full_layers_evenly,
        "full attention everywhere": full_attention_everywhere,
    },
    "qwen2vl-video": QWEN2_VIDEOS,
    "qwen2.5vl-video": QWEN25_VIDEOS,
    "qwen3vl-video": QWEN3_VIDEOS,
    "qwen3vl-moe-video": QWEN3_VIDEOS,
    "qwen2": TEXT,
    "qwen3": TEXT,
    "llama": TEXT | {"text epsilon tenfold": text_epsilon(1e-6)},
    "llama3-scaled": TEXT | {
        "text epsilon tenfold": text_epsilon(1e-4),
        "frequencies not stretched": frequencies_of_llama(no_llama_stretching),
        "all frequencies stretched": frequencies_of_llama(all_stretched),
        "no ramp between the two": frequencies_of_llama(stretched_without_a_ramp),
    },
}
