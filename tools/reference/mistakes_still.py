"""One mistake at a time, as `mistakes.py` makes them: Gemma 3 and the families that see still pictures alone."""

import sys
from unittest import mock

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.image_utils import SizeDict
from transformers.models.llava_next import image_processing_llava_next, modeling_llava_next

import tiny_tokenizer
from mistakes import base_of_rope, text_epsilon


def tower_of(model):
    tower = model.model.vision_tower
    return getattr(tower, "vision_model", tower)


def exact_gelu_in_blocks(model):
    for module in tower_of(model).modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = nn.GELU()


def tower_epsilon(value):
    def change(model):
        for module in tower_of(model).modules():
            for field in ("eps", "variance_epsilon"):
                if isinstance(getattr(module, field, None), float):
                    setattr(module, field, value)
    return change


def tanh_in_projector(model):
    model.model.multi_modal_projector.act = nn.GELU(approximate="tanh")


def no_biases_in_projector(model):
    for name, parameter in model.model.multi_modal_projector.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()


def no_stretching(model):
    text = model.config.get_text_config()
    places = torch.arange(0, text.head_dim, 2, dtype=torch.float32) / text.head_dim
    model.model.language_model.rotary_emb.inv_freq.copy_(text.rope_parameters["rope_theta"] ** -places)


def queries_that_do_not_grow(model):
    model.config.get_text_config().rope_parameters["llama_4_scaling_beta"] = 0.0


def break_rows_of_zeros(model):
    model.get_input_embeddings().weight[tiny_tokenizer.TEKKEN_SPECIAL.index("[IMG_BREAK]")] = 0.0


def height_and_width_exchanged(model):
    frequencies = model.model.vision_tower.patch_positional_embedding.inv_freq
    frequencies.copy_(frequencies.roll(len(frequencies) // 2))


def merger_column_by_column(model):
    weight = model.model.multi_modal_projector.patch_merger.merging_layer.weight
    width = weight.shape[0]
    weight.copy_(weight.reshape(width, width, 2, 2).transpose(2, 3).reshape(width, -1))


def projector_epsilon(value):
    def change(model):
        model.model.multi_modal_projector.norm.variance_epsilon = value
    return change


def class_token_behind(model):
    embeddings = tower_of(model).embeddings
    plain, places = embeddings.forward, embeddings.position_embedding.weight
    embeddings.forward = lambda *args, **more: (plain(*args, **more) - places).roll(-1, dims=1) + places


def rows_of_the_last_layer(model):
    model.config.vision_feature_layer = -1


def no_norm_before_the_layers(model):
    tower_of(model).pre_layrnorm.forward = lambda rows: rows


def line_ends_of_zeros(model):
    model.model.image_newline.zero_()


def packed_otherwise(repack):
    """Changes how the rows of a picture follow each other: `repack` takes the whole picture's rows, the tiles' lines with
    their ends (`[lines, line + 1, width]`) and the tiles as they are (`[rows, columns, side, side, width]`)."""
    def change(model):
        inner, config = model.model, model.config
        plain = inner.pack_image_features
        side = config.vision_config.image_size // config.vision_config.patch_size

        def pack(image_features, image_sizes, **more):
            packed, lengths = plain(image_features, image_sizes, **more)
            for index, (rows, squares, size) in enumerate(zip(packed, image_features, image_sizes)):
                shape = modeling_llava_next.get_anyres_image_grid_shape(
                    size.tolist(), config.image_grid_pinpoints, config.vision_config.image_size
                )
                tiles = squares[1:].reshape(*shape, side, side, -1)
                canvas = tiles.permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2, 3)
                lines = modeling_llava_next.unpad_image(canvas, size.tolist()).shape[1]
                whole, rest = rows[: side * side], rows[side * side :]
                packed[index] = repack(whole, rest.reshape(lines, -1, rows.shape[-1]), canvas).reshape(rows.shape)
            return packed, lengths

        inner.pack_image_features = pack
    return change


def ends_before_lines(whole, lines, _canvas):
    return torch.cat([whole, lines.roll(1, dims=1).flatten(0, 1)])


def tiles_before_the_whole(whole, lines, _canvas):
    return torch.cat([lines.flatten(0, 1), whole])


def padding_of_the_far_side(whole, lines, canvas):
    kept = canvas[:, : lines.shape[0], : lines.shape[1] - 1].permute(1, 2, 0)
    return torch.cat([whole, torch.cat([kept, lines[:, -1:]], dim=1).flatten(0, 1)])


def lines_down(whole, lines, _canvas):
    turned = lines[:, :-1].transpose(0, 1).reshape(lines.shape[0], -1, lines.shape[2])
    return torch.cat([whole, torch.cat([turned, lines[:, -1:]], dim=1).flatten(0, 1)])


def tiles_down(_model):
    return processed_otherwise(
        "divide_to_patches", lambda plain, image, patch_size: down(plain(image, patch_size=patch_size), image, patch_size)
    )


def down(pieces, image, patch_size):
    rows, columns = (side // patch_size for side in image.shape[-2:])
    return [pieces[row * columns + column] for column in range(columns) for row in range(rows)]


def processed_otherwise(name, function):
    """Replaces a function of the processor's module; gives what takes it back."""
    plain = getattr(image_processing_llava_next, name)
    patch = mock.patch.object(
        image_processing_llava_next, name, lambda *args, **more: function(plain, *args, **more)
    )
    patch.start()
    return patch.stop


def stretched_tiles(_model):
    """Tiles filled to their borders, whatever the picture's shape."""
    return processed_otherwise("get_patch_output_size", lambda _plain, _image, size, input_data_format: size)


def whole_picture_in_shape(_model):
    """The whole picture cut to its middle square, as LLaVA-1.5 sees it."""
    processor = image_processing_llava_next.LlavaNextImageProcessor
    plain = processor._get_image_patches

    def patches(self, image, grid_pinpoints, size, patch_size, resample):
        squares = plain(self, image, grid_pinpoints, size, patch_size, resample)
        shorter = self.resize(image=image, size=SizeDict(shortest_edge=size[0]), resample=resample)
        return [self.center_crop(shorter, SizeDict(height=size[0], width=size[1])), *squares[1:]]

    patch = mock.patch.object(processor, "_get_image_patches", patches)
    patch.start()
    return patch.stop


def look_back_one_further(model):
    model.config.get_text_config().sliding_window += 1


def blocks_that_look_back_only(model):
    plain = model.forward
    model.forward = lambda **inputs: plain(**{k: v for k, v in inputs.items() if k != "token_type_ids"})


def blocks_that_see_each_other(model):
    module = sys.modules[type(model).__module__]
    patch = mock.patch.object(
        module, "get_block_sequence_ids_for_mask", lambda kinds, device=None: torch.where(kinds == 1, 0, -1)
    )
    patch.start()
    return patch.stop


def unscaled_embedding(model):
    model.get_input_embeddings().embed_scale.fill_(1.0)


def scaled_pictures(model):
    scale = model.get_input_embeddings().embed_scale
    model.model.multi_modal_projector.register_forward_hook(lambda _m, _i, rows: rows * scale)


def text_of(model):
    return getattr(model.model, "language_model", model.model)


def wide_layers_not_stretched(model):
    rotary = text_of(model).rotary_emb
    rotary.full_attention_inv_freq.mul_(8.0)


def one_base_for_all_layers(model):
    rotary = text_of(model).rotary_emb
    rotary.sliding_attention_inv_freq.copy_(rotary.full_attention_inv_freq)


def near_base_off(model):
    frequencies = text_of(model).rotary_emb.sliding_attention_inv_freq
    frequencies.mul_(1.1 ** torch.linspace(0, 1, len(frequencies)))


def scores_by_width(model):
    text = model.config.get_text_config()
    for layer in text_of(model).layers:
        layer.self_attn.scaling = (text.hidden_size / text.num_attention_heads) ** -0.5


def wide_layers_one_early(model):
    layers = text_of(model).layers
    kinds = [layer.self_attn.layer_type for layer in layers]
    text = model.config.get_text_config()
    text.layer_types = kinds[1:] + kinds[:1]
    for layer, kind in zip(layers, text.layer_types):
        layer.self_attn.layer_type = kind


def norms_without_their_one(model):
    for module in text_of(model).modules():
        if hasattr(module, "eps") and hasattr(module, "weight"):
            module.weight.sub_(1.0)


def gemma_epsilon(value):
    def change(model):
        for module in text_of(model).modules():
            if hasattr(module, "eps"):
                module.eps = value
    return change


def quick_gelu_in_blocks(model):
    for module in tower_of(model).modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = ACT2FN["quick_gelu"]


def rows_of_the_layer_before_the_last(model):
    model.config.vision_feature_layer = -2


def products_of_mlps_exchanged(model):
    for layer in tower_of(model).encoder.layers:
        layer.mlp.fc1, layer.mlp.fc2 = layer.mlp.fc2, layer.mlp.fc1


TEXT_OF_STILL = {
    "text epsilon tenfold": text_epsilon(1e-4),
    "rope base 10 % off": base_of_rope(1.1),
}
GEMMA = {
    # Rows of the embedding are scaled to order one: a factor of ten stays under the tolerance.
    "text epsilon 1e-4": gemma_epsilon(1e-4),
    "one token further back": look_back_one_further,
    "one rotary base for all layers": one_base_for_all_layers,
    "near base 10 % off": near_base_off,
    "embedding not scaled": unscaled_embedding,
    "scores by the width": scores_by_width,
    "wide layers one early": wide_layers_one_early,
    "norms without their one": norms_without_their_one,
}
GEMMA_PICTURES = {
    "erf GELU in the blocks": exact_gelu_in_blocks,
    "vision epsilon 1e-4": tower_epsilon(1e-4),
    "rows of pictures scaled": scaled_pictures,
    "blocks look back only": blocks_that_look_back_only,
}
# Of the encoder and the projector that both generations of LLaVA have.
LLAVA = {
    "tanh GELU in the projector": tanh_in_projector,
    "erf GELU in the blocks": exact_gelu_in_blocks,
    "vision epsilon 1e-6": tower_epsilon(1e-6),
    "class token behind the patches": class_token_behind,
    "rows of the last layer": rows_of_the_last_layer,
    "no norm before the layers": no_norm_before_the_layers,
    "biases of the projector missing": no_biases_in_projector,
}

TILES = {
    "line ends of zeros": line_ends_of_zeros,
    "line ends before their lines": packed_otherwise(ends_before_lines),
    "tiles before the whole picture": packed_otherwise(tiles_before_the_whole),
    "padding cut from the far side": packed_otherwise(padding_of_the_far_side),
    "lines from top to bottom": packed_otherwise(lines_down),
    "tiles column by column": tiles_down,
    "tiles filled to their borders": stretched_tiles,
    "whole picture in its shape": whole_picture_in_shape,
}
MISTAKES = {
    "mistral3": TEXT_OF_STILL | {
        "tanh GELU in the projector": tanh_in_projector,
        "vision epsilon 1e-6": tower_epsilon(1e-6),
        "height and width exchanged": height_and_width_exchanged,
        "merger column by column": merger_column_by_column,
        "no stretching": no_stretching,
        "queries do not grow": queries_that_do_not_grow,
        "rows of zeros for breaks": break_rows_of_zeros,
    },
    "mistral3-mixed": TEXT_OF_STILL | {
        "text epsilon tenfold": text_epsilon(1e-1),
        "projector epsilon as the encoder's": projector_epsilon(1e-5),
        "one token further back": look_back_one_further,
        "biases of the projector missing": no_biases_in_projector,
    },
    "pixtral": TEXT_OF_STILL | {
        "vision epsilon 1e-6": tower_epsilon(1e-6),
        "height and width exchanged": height_and_width_exchanged,
        "rows of zeros for breaks": break_rows_of_zeros,
        "biases of the projector missing": no_biases_in_projector,
    },
    "llava": TEXT_OF_STILL | LLAVA,
    "llava-mixed": TEXT_OF_STILL | {
        "tanh GELU in the projector": tanh_in_projector,
        "quick GELU in the blocks": quick_gelu_in_blocks,
        "vision epsilon 1e-5": tower_epsilon(1e-5),
        "class token behind the patches": class_token_behind,
        "rows of the layer before the last": rows_of_the_layer_before_the_last,
        "no norm before the layers": no_norm_before_the_layers,
        "products of the MLPs exchanged": products_of_mlps_exchanged,
    },
    "llava-next": TEXT_OF_STILL | TILES | LLAVA,
    "llava-next-mixed": TEXT_OF_STILL | TILES | {
        "tanh GELU in the projector": tanh_in_projector,
        "quick GELU in the blocks": quick_gelu_in_blocks,
        "rows of the layer before the last": rows_of_the_layer_before_the_last,
    },
    "gemma3": GEMMA | GEMMA_PICTURES | {"wide layers not stretched": wide_layers_not_stretched},
    "gemma3-mixed": GEMMA | GEMMA_PICTURES | {"blocks see each other": blocks_that_see_each_other},
    "gemma3-text": GEMMA | {"wide layers not stretched": wide_layers_not_stretched},
    "gemma3-layers": GEMMA | {
        "text epsilon 1e-4": gemma_epsilon(1e-4), "wide layers one early": wide_layers_one_early,
    },
}
