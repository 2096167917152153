"""A transform in a file of one's own: there while its experiment is at work, and named where it fails."""

import json

import pytest
from torch import nn

from assay import catalog
from assay.build.local_transforms import offered
from assay.core.errors import TransformError
from assay.core.experiment_file import local_files, local_kind, read_experiment
from assay.core.records import TransformSpec
from assay.pipeline.scaffold import _VARIANT, Wish, scaffold


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "variant.py"
    path.write_text(_VARIANT)
    return path


def test_it_changes_what_it_says_and_only_while_it_is_offered(own):
    kind = local_kind(own)
    with pytest.raises(TransformError, match="not at work"):
        catalog.transform(kind)
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.ReLU())
    with offered({kind: own}):
        change = catalog.transform(kind).apply(model, catalog.options(TransformSpec(kind=kind, options={"share": 0.5})))
    assert (change.kind, change.modules) == (kind, ("0",))
    assert int((model[0].weight == 0).sum()) == 50
    with pytest.raises(TransformError, match="not at work"):
        catalog.transform(kind)


def test_its_options_are_validated(own):
    kind = local_kind(own)
    with offered({kind: own}), pytest.raises(TransformError, match="Its options: share"):
        catalog.options(TransformSpec(kind=kind, options={"shere": 0.5}))


def test_its_content_is_its_kind(own):
    kind = local_kind(own)
    own.write_text(own.read_text() + "\n# another\n")
    assert local_kind(own) != kind
    with offered({kind: own}), pytest.raises(TransformError, match="was changed or removed"):
        catalog.transform(kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def apply(:\n", "variant.py:1: its import raised SyntaxError"),
        ("import nothing_of_that_name\n", "variant.py:1: its import raised ModuleNotFoundError"),
        ("class Options: ...\n", "it has no apply"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_its_line(own, text, said):
    own.write_text(text)
    with offered({local_kind(own): own}), pytest.raises(TransformError, match=said):
        catalog.transform(local_kind(own))


def test_what_it_raises_is_named_with_its_line(own):
    own.write_text(_VARIANT.replace("    chosen = select(model)\n", "    chosen = model.nothing\n"))
    line = own.read_text().splitlines().index("    chosen = model.nothing") + 1
    kind = local_kind(own)
    with offered({kind: own}):
        found = catalog.transform(kind)
    with pytest.raises(TransformError, match=rf"variant\.py:{line}: its apply raised Attribute"):
        found.apply(nn.Linear(2, 2), found.Options())


def test_a_scaffold_with_a_transform_of_its_own_is_read_after_it_is_stated(tmp_path):
    scaffold(tmp_path, Wish(name="pruned", model="smollm2-135m", own_transform=True, hypothesis="It is free"), ())
    path = tmp_path / "pruned" / "experiment.toml"
    with pytest.raises(Exception, match="expect"):
        read_experiment(path.parent)
    path.write_text(path.read_text().replace("[study]\n", "[[expect]]\nmetric = 'kl_nats'\nkind = 'value'\nvalue = "
                                             "0.1\nlow = 0.01\nhigh = 0.5\n\n[study]\n", 1))  # fmt: skip
    experiment = read_experiment(path.parent)
    kinds = [spec.kind for spec in experiment.variant("pruned").transforms]
    assert kinds == ["cast", local_kind(tmp_path / "pruned" / "variant.py")]
    assert list(local_files(path.parent, experiment)) == kinds[1:]
    assert json.loads(experiment.to_json())["files"].keys() == {"variant.py"}
