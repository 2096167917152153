"""Int4 weights against float64 and against bounds that follow from the levels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from assay.build.nn.int4 import Int4KernelLinear, Int4Linear, loaded_layer, pack_levels
from assay.build.transforms import int4_weight_only as int4
from assay.core.errors import TransformError


def _weight(rows=64, columns=128, scale=1.0, seed=0):
    return (torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * scale).bfloat16()


def _layer(weight, group_size=32):
    levels, scale = int4.quantise(weight, group_size)
    layer = Int4Linear(weight.shape[1], weight.shape[0], False, group_size)
    layer.weight_packed.data, layer.weight_scale.data = pack_levels(levels), scale
    return layer


class Pair(nn.Module):
    def __init__(self, dtype=torch.bfloat16):
        super().__init__()
        self.up = nn.Linear(64, 48)
        self.down = nn.Linear(48, 64)
        self.lm_head = nn.Linear(64, 16, bias=False)
        self.to(dtype)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-6, 1e-3, 1.0, 1e3]), group=st.sampled_from([16, 32, 64]))
def test_no_weight_is_further_off_than_a_scale_and_no_group_than_the_plain_scale_leaves_it(seed, scale, group):
    weight = _weight(8, 128, scale, seed)
    levels, scales = int4.quantise(weight, group)
    exact, grouped = weight.double().view(8, -1, group), (levels.double() - 8).view(8, -1, group)
    error = (grouped * scales.double()[:, :, None] - exact).abs()
    assert levels.max() <= 15
    # One scale where the far end is clipped, half of one elsewhere; the scale itself is rounded to 8 bits, or to 2^-24.
    bound = scales.double().abs() * (1 + 2**-6) + 8 * 2.0**-25
    assert (error <= bound[:, :, None]).all()
    plain = (exact.abs().amax(2) / 7).to(torch.bfloat16).to(torch.float16).double().clamp_min(2.0**-24)
    nearest = (exact / plain[:, :, None]).round().clamp(-8, 7) * plain[:, :, None]
    assert (error.square().sum(2) <= (nearest - exact).square().sum(2) * (1 + 1e-5) + 1e-30).all()


@pytest.mark.parametrize("scale", [1e-5, 1e-2, 1.0, 1e4])
def test_scales_are_numbers_of_both_16_bit_types(scale):
    _, scales = int4.quantise(_weight(scale=scale), 32)
    assert torch.equal(scales.to(torch.float16).to(torch.float32), scales.to(torch.float32))


def test_a_group_of_zeros_stays_zero():
    weight = _weight()
    weight[3, 32:64] = 0
    assert (_layer(weight).expanded()[3, 32:64] == 0).all()


def test_levels_survive_packing():
    levels = torch.randint(0, 16, (5, 32), dtype=torch.uint8)
    layer = Int4Linear(32, 5, False, 16)
    layer.weight_packed.data = pack_levels(levels)
    assert layer.weight_packed.shape == (5, 16)
    assert torch.equal(layer.levels(), levels)


@pytest.mark.parametrize(("rows", "group"), [(64, 32), (48, 64), (16, 128)])
@pytest.mark.parametrize("tokens", [1, 5, 33])
def test_the_kernel_computes_with_the_stored_numbers(rows, group, tokens):
    layer = _layer(_weight(rows), group)
    running = loaded_layer(layer)
    assert isinstance(running, Int4KernelLinear)
    x = torch.randn(2, tokens, 128).bfloat16()
    exact = x.double() @ layer.expanded(torch.float32).double().t()
    # Weights are rounded to bfloat16 in the kernel, and the result: 2^-8 each, on the scale of the sums.
    size = x.double().abs() @ layer.expanded(torch.float32).double().abs().t()
    assert ((running(x).double() - exact).abs() <= 2**-7 * size).all()


@pytest.mark.parametrize(("rows", "group"), [(40, 32), (64, 16)])
def test_what_the_kernel_does_not_take_is_expanded(rows, group):
    layer = _layer(_weight(rows), group)
    running = loaded_layer(layer)
    assert type(running) is nn.Linear
    assert torch.equal(running.weight, layer.expanded())


def test_what_changes_and_what_is_said():
    model = Pair()
    change = int4.apply(model, int4.Options(group_size=16))
    assert change.modules == ("up", "down")
    assert type(model.lm_head) is nn.Linear
    weights = 2 * 64 * 48
    assert change.bytes_before == 2 * weights
    assert change.bytes_after == weights // 2 + 2 * weights // 16
    assert len(change.notes) == 1
    assert change.notes[0].startswith("2 of 2 layers expanded to bf16 at load in torch")
    with_head = int4.apply(Pair(), int4.Options(head=True, names=("up", "lm_head")))
    assert with_head.modules == ("up", "lm_head")
    assert with_head.notes[0].startswith("int4 in memory too")


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (Pair(torch.float32), int4.Options(), "Put {kind"),
        (Pair(), int4.Options(), "down has 48 inputs, which is no multiple"),
        (Pair(), int4.Options(names=("nothing",)), "matches none"),
    ],
)
def test_what_is_refused_is_refused_before_building_too(model, options, words):
    for refuse in (int4.planned, int4.apply):
        with pytest.raises(TransformError, match=words):
            refuse(model, options)


def test_weights_beyond_the_scales_are_refused():
    model = Pair()
    model.up.weight.data[0, 0] = 1e6
    with pytest.raises(TransformError, match=r"up holds 9.99e\+05"):
        int4.apply(model, int4.Options(names=("up",)))
    model.up.weight.data[0, 0] = torch.nan
    with pytest.raises(TransformError, match="NaN"):
        int4.apply(model, int4.Options(names=("up",)))
