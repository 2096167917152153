"""Palettes: least error, packing, groups that do not divide, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from assay.build.nn.linear import PaletteLinear
from assay.build.transforms import palettize
from assay.core.errors import TransformError


def model_of(*shapes, dtype=torch.bfloat16, bias=False):
    torch.manual_seed(0)
    return nn.ModuleDict({f"layer{n}": nn.Linear(i, o, bias=bias) for n, (o, i) in enumerate(shapes)}).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_weight_takes_the_nearest_entry_of_its_groups_palette(dtype, bits):
    model = model_of((10, 24), dtype=dtype, bias=True)
    weight, bias = model.layer0.weight.detach().clone(), model.layer0.bias.detach().clone()
    change = palettize.apply(model, palettize.Options(bits=bits, output_channels=4))
    layer = model.layer0
    assert type(layer) is PaletteLinear
    assert layer.palette.shape == (3, 1 << bits)
    assert layer.palette.dtype == dtype
    assert layer.palette_indices.nbytes == -(-240 * bits // 8)
    assert torch.equal(layer.bias, bias)
    assert (change.bytes_before, change.bytes_after) == (480, layer.palette.nbytes + layer.palette_indices.nbytes)
    expanded = layer.expanded()
    for row in range(10):
        palette = layer.palette[row // 4].double()
        distance = (weight[row].double()[:, None] - palette).abs().min(dim=1).values
        assert torch.equal((weight[row].double() - expanded[row].double()).abs(), distance)


def test_as_many_entries_as_values_lose_nothing():
    model = model_of((6, 20))
    model.layer0.weight.data = torch.randint(-7, 8, (6, 20)).bfloat16() / 8
    model.layer0.weight.data[0, :2] = torch.tensor([0.0, -0.0])
    weight = model.layer0.weight.detach().clone()
    palettize.apply(model, palettize.Options(bits=4))
    assert torch.equal(model.layer0.expanded(), weight)


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_no_other_palette_has_less_error(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 16, generator=generator).bfloat16()
    palette, indices = palettize.quantise(weight, bits, 4)
    flat = weight.double().flatten()
    found = ((palette[0].double()[indices.long().flatten()] - flat) ** 2).sum()
    for _ in range(10):
        centres = flat[torch.randperm(64, generator=generator)[: 1 << bits]]
        for _ in range(10):
            nearest = (flat[:, None] - centres).abs().argmin(dim=1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, flat)
            counts = torch.zeros_like(centres).index_add_(0, nearest, torch.ones_like(flat))
            centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
        lloyd = ((flat[:, None] - centres).abs().min(dim=1).values ** 2).sum()
        # The entries are rounded to the 8 significant bits of bf16: each is off by at most 2^-8 of itself.
        assert found <= lloyd + (flat.abs().max() * 2**-8) ** 2 * 64


def test_coarser_groups_and_fewer_bits_never_help():
    errors = {}
    for bits, channels in ((2, 8), (4, 2), (4, 8), (6, 8)):
        model = model_of((16, 64))
        weight = model.layer0.weight.detach().clone()
        palettize.apply(model, palettize.Options(bits=bits, output_channels=channels))
        errors[bits, channels] = (model.layer0.expanded().double() - weight.double()).square().sum()
    assert errors[2, 8] > errors[4, 8] > errors[6, 8]
    assert errors[4, 8] > errors[4, 2]


def test_the_change_names_the_layers_and_says_what_is_not_saved():
    model = model_of((4, 8), (8, 4))
    model["lm_head"] = nn.Linear(8, 8, bias=False, dtype=torch.bfloat16)
    change = palettize.apply(model, palettize.Options(bits=2))
    assert change.modules == ("layer0", "layer1")
    assert change.notes == ("expanded to bf16 at load: smaller on disk, not in memory",)
    head = palettize.apply(model, palettize.Options(bits=2, head=True, names=("lm_head",)))
    assert head.modules == ("lm_head",)


def test_other_types_and_values_are_refused():
    with pytest.raises(TransformError, match='kind = "cast", dtype = "bf16"'):
        palettize.apply(model_of((4, 8), dtype=torch.float32), palettize.Options())
    model = model_of((4, 8))
    model.layer0.weight.data[1, 1] = float("inf")
    with pytest.raises(TransformError, match="layer0 holds NaN or infinity"):
        palettize.apply(model, palettize.Options())


@pytest.mark.parametrize("fields", [{"bits": 0}, {"bits": 9}, {"output_channels": 0}, {"bits": 4.0}, {"group": 3}])
def test_options_are_strict(fields):
    with pytest.raises(ValidationError):
        palettize.Options(**fields)


def test_sortable_bits_have_the_order_of_the_numbers():
    numbers = palettize._numbers(torch.float16)
    finite = np.isfinite(numbers)
    assert (np.diff(numbers[finite]) >= 0).all()
    values = torch.tensor([[-2.0, -0.0, 0.0, 1e-3, 65504.0]], dtype=torch.float16)
    keys = palettize._sortable(values)
    assert numbers[keys].tolist() == values.double().tolist()
    assert keys[0, 1] == keys[0, 2]
