"""Norm and quantised layers against float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from assay.build.nn.linear import Int8Linear, PaletteLinear, pack_bits, plain_layer, unpack_bits
from assay.build.nn.norm import RMSNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_rms_norm_equals_transformers(dtype, scale):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(2, 5, 96, generator=generator) * scale).to(dtype)
    ours, theirs = RMSNorm(96, 1e-5).to(dtype), LlamaRMSNorm(96, 1e-5).to(dtype)
    weight = torch.randn(96, generator=generator).to(dtype)
    ours.weight.data, theirs.weight.data = weight, weight
    with torch.no_grad():
        # Both reduce in float32 in another order: at most one rounding of the type apart.
        rounding = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}[dtype]
        torch.testing.assert_close(ours(x), theirs(x), rtol=rounding, atol=0)


@pytest.mark.parametrize("bias", [False, True])
def test_int8_layer_agrees_with_float64(bias):
    generator = torch.Generator().manual_seed(1)
    layer = Int8Linear(64, 40, bias, torch.bfloat16)
    layer.weight.data = torch.randint(-127, 128, (40, 64), generator=generator, dtype=torch.int8)
    layer.weight_scale.data = (torch.rand(40, generator=generator) / 100).bfloat16()
    if bias:
        layer.bias.data = torch.randn(40, generator=generator).bfloat16()
    x = torch.randn(2, 3, 64, generator=generator).bfloat16()
    exact = x.double() @ (layer.weight.double() * layer.weight_scale.double()[:, None]).T
    found = layer(x)
    assert found.dtype == torch.bfloat16
    if bias:
        exact += layer.bias.double()
    # The result is rounded to bf16 (2^-8), once more after the bias; the sums are in float32.
    torch.testing.assert_close(found.double(), exact, rtol=2**-7, atol=2**-7)


@settings(max_examples=50)
@given(st.integers(1, 8), st.data())
def test_packed_bits_come_back(bits, data):
    values = torch.tensor(data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=40)), dtype=torch.uint8)
    packed = pack_bits(values, bits)
    assert packed.nbytes == -(-len(values) * bits // 8)
    assert torch.equal(unpack_bits(packed, bits, len(values)), values)


def test_bits_are_packed_from_the_lowest_up():
    assert pack_bits(torch.tensor([1, 2, 3]), 3).tolist() == [0b11_010_001, 0]


def test_more_values_than_one_chunk_come_back():
    values = torch.randint(0, 8, ((1 << 20) + 5,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpack_bits(pack_bits(values, 3), 3, len(values)), values)


def test_an_expanded_palette_computes_the_same():
    generator = torch.Generator().manual_seed(2)
    layer = PaletteLinear(6, 5, True, torch.bfloat16, bits=2, output_channels=2)
    indices = torch.randint(0, 4, (5, 6), generator=generator)
    layer.palette.data = torch.randn(3, 4, generator=generator).bfloat16()
    layer.palette_indices.data = pack_bits(indices, 2)
    expected = torch.stack([layer.palette[row // 2][indices[row]] for row in range(5)])
    x = torch.randn(3, 6, generator=generator).bfloat16()
    plain = plain_layer(layer)
    assert type(plain) is torch.nn.Linear
    assert torch.equal(plain.weight, expected)
    assert torch.equal(plain(x), layer(x))
