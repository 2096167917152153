"""Tiny random models of both families, and the variants of them that can be exported."""

import json

import pytest
import torch

from assay.build.checkpoints import random as random_checkpoint
from assay.build.exporters import torch as exporter
from assay.build.families import build_model
from assay.build.transform_modules import transform
from assay.core.records import TransformSpec

CONFIGS = {
    "llama": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    },
    "llama-untied": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "attention_bias": True,
        "tie_word_embeddings": False,
    },
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": 96,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
    },
}
CONFIGS["nanogpt"] = {**CONFIGS["gpt2"], "bias": False, "activation_function": "gelu"}
BF16 = TransformSpec(kind="cast", options={"dtype": "bf16"})
RECIPES = {
    "fp32": (),
    "bf16": (BF16,),
    "fp16": (TransformSpec(kind="cast", options={"dtype": "fp16"}),),
    "int8": (BF16, TransformSpec(kind="int8_weight_only")),
    "int8-head": (BF16, TransformSpec(kind="int8_weight_only", options={"head": True})),
    "int4": (BF16, TransformSpec(kind="int4_weight_only", options={"group_size": 16})),
    "int4-kernel": (BF16, TransformSpec(kind="int4_weight_only", options={"names": ("*self_attn*",)})),
    "lut3": (BF16, TransformSpec(kind="palettize", options={"bits": 3, "output_channels": 20})),
    "mixed": (
        BF16,
        TransformSpec(kind="palettize", options={"bits": 5, "names": ("*mlp*",)}),
        TransformSpec(kind="int8_weight_only"),
    ),
}


@pytest.fixture
def build(tmp_path):
    """Build one recipe of one config into a directory: (model before export, artifact, directory)."""

    def make(config_name, recipe, directory=None):
        path = tmp_path / "source" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(CONFIGS[config_name]))
        checkpoint = random_checkpoint.open_checkpoint(path)
        model = build_model(checkpoint)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                generator = torch.Generator().manual_seed(len(name))
                parameter.data = torch.rand(parameter.shape, generator=generator) + 0.5
        changes = []
        for spec in RECIPES[recipe]:
            module = transform(spec.kind)
            changes.append(module.apply(model, module.Options(**spec.options)))
        directory = directory or tmp_path / "built" / f"{config_name}-{recipe}"
        artifact = exporter.export(
            model, checkpoint.config, None, changes, checkpoint.source, RECIPES[recipe], directory, {"torch": "1"}
        )
        return model, artifact, directory

    return make
