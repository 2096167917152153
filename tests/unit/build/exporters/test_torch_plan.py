"""What is planned from a config alone is, to the byte, what is built from it."""

import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from assay import catalog
from assay.build import families
from assay.build.dispatches import count_dispatches
from assay.build.exporters import torch as torch_format
from assay.build.nn.empty import empty_modules
from assay.core.errors import TransformError
from assay.core.records import TransformSpec
from tiny_models import as_json, plain

CONFIGS = {name: as_json(config) for name, config in plain().items()}
LLAMA = CONFIGS["llama"]
BF16 = TransformSpec(kind="cast", options={"dtype": "bf16"})
RECIPES = [
    (),
    (BF16,),
    (TransformSpec(kind="cast", options={"dtype": "fp16"}),),
    (BF16, TransformSpec(kind="int8_weight_only")),
    (BF16, TransformSpec(kind="int8_weight_only", options={"head": True})),
    (BF16, TransformSpec(kind="palettize", options={"bits": 3, "output_channels": 7})),
    (BF16, TransformSpec(kind="palettize", options={"bits": 4, "head": True, "names": ("*.0.*", "lm_head")})),
]


@pytest.mark.parametrize(
    "config", [*CONFIGS.values(), {**LLAMA, "tie_word_embeddings": True}], ids=[*CONFIGS, "llama, tied"]
)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: "+".join(spec.kind for spec in recipe) or "none")
def test_a_plan_is_what_is_built(config, recipe, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    checkpoint = catalog.open_checkpoint(str(path))
    model = families.build_model(checkpoint)
    changes = [catalog.transform(spec.kind).apply(model, catalog.options(spec)) for spec in recipe]
    built = torch_format.export(
        model, checkpoint.config, None, changes, checkpoint.source, recipe, tmp_path / "artifact", {}
    )
    planned = torch_format.plan(config, recipe)
    for field in type(planned).model_fields:
        assert getattr(planned, field) == getattr(built, field), field


@pytest.mark.parametrize("kind", catalog.TRANSFORMS)
def test_every_transform_can_be_planned(kind):
    assert callable(catalog.transform(kind).planned)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ((TransformSpec(kind="int8_weight_only"),), "before int8_weight_only"),
        ((TransformSpec(kind="palettize"),), "before palettize"),
        ((BF16, TransformSpec(kind="int8_weight_only"), BF16), "Put cast before"),
        ((BF16, TransformSpec(kind="palettize", options={"names": ("nothing",)})), "matches none"),
        ((TransformSpec(kind="palettize", options={"bits": 99}),), "options of palettize"),
    ],
)
def test_what_cannot_be_built_is_refused_before_it_is(recipe, words):
    with pytest.raises(TransformError, match=words):
        torch_format.plan(LLAMA, recipe)


@pytest.mark.parametrize("tokens", [1, 8])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_dispatches_counted_on_shapes_are_those_of_a_real_pass(config, tokens):
    class Seen(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += not func.is_view and func.name() not in ("aten::detach", "aten::_unsafe_view")
            return func(*args, **(kwargs or {}))

    kind = families.family(config["model_type"])
    with empty_modules():
        empty = kind.Model(kind.Config.from_dict(config))
    real = kind.Model(kind.Config.from_dict(config))
    cache = real.new_cache(1, tokens, torch.float32, "cpu")
    given = torch.zeros((1, tokens), dtype=torch.int64)
    with torch.no_grad():
        real(given, cache, last_only=True)
        cache.rewind(0)
        with Seen() as seen:
            real(given, cache, last_only=True)
    # Meta copies where the CPU does not.
    assert count_dispatches(empty, tokens) == pytest.approx(seen.count, rel=0.05)
