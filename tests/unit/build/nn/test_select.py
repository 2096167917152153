"""Selection by class and name."""

import pytest
from torch import nn

from assay.build.nn.select import replace, select
from assay.core.errors import TransformError


@pytest.fixture
def model():
    layers = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(2, 3), "norm": nn.LayerNorm(3)}) for _ in range(2))
    return nn.ModuleDict({"layers": layers, "lm_head": nn.Linear(3, 4)})


def test_selects_by_class_name_and_exclusion(model):
    assert list(select(model, exclude=("lm_head",))) == ["layers.0.up", "layers.1.up"]
    assert list(select(model, (nn.LayerNorm,))) == ["layers.0.norm", "layers.1.norm"]
    assert list(select(model, names=("layers.1.*", "lm_head"))) == ["layers.1.up", "lm_head"]


def test_a_subclass_is_not_its_base(model):
    class Special(nn.Linear):
        pass

    replace(model, "layers.0.up", Special(2, 3))
    assert list(select(model, exclude=("lm_head",))) == ["layers.1.up"]


@pytest.mark.parametrize(
    ("names", "exclude", "said"),
    [
        (("*.gate",), (), "'\\*.gate' matches none"),
        (("layers.*", "head"), (), "'head' matches none"),
        (("*",), ("*",), "leaves nothing"),
    ],
)
def test_what_selects_nothing_is_refused(model, names, exclude, said):
    with pytest.raises(TransformError, match=said):
        select(model, names=names, exclude=exclude)
