"""What a user types for a variant becomes the transforms that it names."""

import pytest

from assay.core.errors import InputError
from assay.pipeline.short_form import transforms_of, variant_of


def _written(short):
    return [(spec.kind, dict(spec.options)) for spec in transforms_of(short)]


@pytest.mark.parametrize(
    ("short", "transforms"),
    [
        ("fp32", []),
        ("bf16", [("cast", {"dtype": "bf16"})]),
        ("int8", [("cast", {"dtype": "bf16"}), ("int8_weight_only", {})]),
        ("int4", [("cast", {"dtype": "bf16"}), ("int4_weight_only", {"group_size": 32})]),
        ("int4-g64", [("cast", {"dtype": "bf16"}), ("int4_weight_only", {"group_size": 64})]),
        ("lut4-oc8", [("cast", {"dtype": "bf16"}), ("palettize", {"bits": 4, "output_channels": 8})]),
        ("bf16+int8_weight_only(head=true)", [("cast", {"dtype": "bf16"}), ("int8_weight_only", {"head": True})]),
        ("palettize(bits=3, output_channels=16)", [("palettize", {"bits": 3, "output_channels": 16})]),
    ],
)
def test_short_forms(short, transforms):
    assert _written(short) == transforms


def test_a_name_for_the_store_and_the_table():
    assert variant_of("cast(dtype=fp16)").name == "cast-dtype-fp16"
    assert variant_of("int8", "mine").name == "mine"


@pytest.mark.parametrize("short", ["int9", "lut9-oc8", "cast)(", "bf16+nothing"])
def test_what_is_no_transform_is_refused_with_the_known_names(short):
    with pytest.raises(InputError, match="Known: cast"):
        transforms_of(short)
