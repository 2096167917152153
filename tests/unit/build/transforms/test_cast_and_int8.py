"""Cast and int8 weights against torch and float64."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from assay.build.nn.linear import Int8Linear
from assay.build.transforms import cast, int8_weight_only
from assay.core.errors import TransformError


class Tiny(nn.Module):
    def __init__(self, dtype=torch.float32, bias=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 32)
        self.up = nn.Linear(32, 48, bias=bias)
        self.norm = nn.LayerNorm(48)
        self.down = nn.Linear(48, 32, bias=bias)
        self.lm_head = nn.Linear(32, 11, bias=False)
        self.lm_head.weight = self.embed.weight
        self.to(dtype)

    def forward(self, tokens):
        return self.lm_head(self.down(self.norm(self.up(self.embed(tokens)))))


@pytest.mark.parametrize(("name", "dtype"), cast._DTYPES.items())
def test_cast_rounds_every_parameter_and_keeps_the_head_tied(name, dtype):
    model, original = Tiny(), Tiny()
    change = cast.apply(model, cast.Options(dtype=name))
    for path, parameter in model.named_parameters():
        assert torch.equal(parameter, original.get_parameter(path).to(dtype))
    assert model.lm_head.weight is model.embed.weight
    count = sum(parameter.numel() for parameter in original.parameters())
    assert change.modules == tuple(path for path, _ in original.named_parameters())
    assert (change.bytes_before, change.bytes_after) == (4 * count, dtype.itemsize * count)
    assert change.notes == (("all parameters were fp32 already",) if name == "fp32" else ())


def test_cast_refuses_what_its_type_cannot_hold():
    model = Tiny()
    model.up.weight.data[3, 4] = 70000.0
    with pytest.raises(TransformError, match=r"up\.weight holds 7e\+04.*bf16"):
        cast.apply(model, cast.Options(dtype="fp16"))


def test_cast_refuses_a_quantised_model():
    model = Tiny(torch.bfloat16)
    int8_weight_only.apply(model, int8_weight_only.Options())
    with pytest.raises(TransformError, match="Put cast before"):
        cast.apply(model, cast.Options(dtype="fp32"))


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e4])
def test_an_int8_weight_is_at_most_half_a_scale_off(scale):
    weight = (torch.randn(64, 96, generator=torch.Generator().manual_seed(0)) * scale).bfloat16()
    weight[5] = 0
    weight[6, 7] *= 100
    int8, scales = int8_weight_only.quantise(weight)
    assert (int8.dtype, scales.dtype) == (torch.int8, torch.bfloat16)
    assert int8.abs().max() <= 127
    steps = scales.double()[:, None]
    assert ((int8.double() * steps - weight.double()).abs() <= steps / 2 * (1 + 1e-6)).all()
    absmax = weight.abs().amax(dim=1).double()
    used = absmax > 0
    # The scale itself is rounded to bf16.
    torch.testing.assert_close(scales.double()[used], absmax[used] / 127, rtol=2**-8, atol=0)
    assert not int8[5].any()


def test_int8_rounds_half_to_even():
    weight = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]], dtype=torch.bfloat16)
    assert int8_weight_only.quantise(weight)[0].tolist() == [[127, 0, 2, 2, 0, -2]]


@pytest.mark.parametrize("bias", [False, True])
def test_int8_changes_the_linear_layers_and_reports_them(bias):
    model, original = Tiny(torch.bfloat16, bias), Tiny(torch.bfloat16, bias)
    change = int8_weight_only.apply(model, int8_weight_only.Options())
    assert change.modules == ("up", "down")
    assert type(model.up) is type(model.down) is Int8Linear
    assert type(model.lm_head) is nn.Linear
    assert model.lm_head.weight is model.embed.weight
    assert change.bytes_before == 2 * (32 * 48 * 2)
    assert change.bytes_after == 2 * (32 * 48) + 2 * (48 + 32)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    dequantised = model.up.weight.double() * model.up.weight_scale.double()[:, None]
    exact = x.double() @ dequantised.T + (original.up.bias.double() if bias else 0)
    # bf16 results, rounded twice where there is a bias.
    torch.testing.assert_close(model.up(x).double(), exact, rtol=2**-7, atol=2**-7)


def test_int8_takes_the_head_when_asked_and_unties_it():
    model = Tiny(torch.bfloat16)
    change = int8_weight_only.apply(model, int8_weight_only.Options(head=True, names=("lm_head",)))
    assert change.modules == ("lm_head",)
    assert type(model.lm_head) is Int8Linear
    assert any("second tensor" in note for note in change.notes)
    assert model.embed.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_int8_refuses_other_types_with_the_remedy(dtype):
    with pytest.raises(TransformError, match='kind = "cast", dtype = "bf16"'):
        int8_weight_only.apply(Tiny(dtype), int8_weight_only.Options())


def test_int8_refuses_nan_and_a_second_time():
    model = Tiny(torch.bfloat16)
    model.down.weight.data[0, 0] = float("nan")
    with pytest.raises(TransformError, match="down holds NaN"):
        int8_weight_only.apply(model, int8_weight_only.Options())
    model = Tiny(torch.bfloat16)
    int8_weight_only.apply(model, int8_weight_only.Options())
    with pytest.raises(TransformError, match="leaves nothing"):
        int8_weight_only.apply(model, int8_weight_only.Options())


@pytest.mark.parametrize("fields", [{"dtype": "fp8"}, {}, {"dtype": "bf16", "head": True}])
def test_options_are_strict(fields):
    with pytest.raises(ValidationError):
        cast.Options(**fields)


@pytest.mark.parametrize("inputs", [4, 24, 33])
def test_widths_that_the_kernel_does_not_take_are_refused(inputs):
    """It gives wrong sums for them, or ends the process."""
    model = torch.nn.Sequential(torch.nn.Linear(inputs, 32)).bfloat16()
    for refuse in (int8_weight_only.apply, int8_weight_only.planned):
        with pytest.raises(TransformError, match=f"0 has {inputs} inputs"):
            refuse(model, int8_weight_only.Options())
