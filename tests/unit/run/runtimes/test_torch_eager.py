"""Sessions of the torch runtime on tiny artifacts, against the model itself."""

import json

import numpy as np
import pytest
import torch

from assay.build.checkpoints import random as random_checkpoint
from assay.build.exporters import torch as exporter
from assay.build.families import build_model
from assay.build.transform_modules import transform
from assay.core.errors import ContractError, UnsupportedError
from assay.core.records import Decoding, Target, TransformSpec
from assay.run.decoding.greedy import greedy, greedy_prompts
from assay.run.runtimes import torch_eager

CONFIG = {
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
RECIPES = {
    "fp32": (),
    "bf16": (TransformSpec(kind="cast", options={"dtype": "bf16"}),),
    "int8": (TransformSpec(kind="cast", options={"dtype": "bf16"}), TransformSpec(kind="int8_weight_only")),
    "lut4": (
        TransformSpec(kind="cast", options={"dtype": "bf16"}),
        TransformSpec(kind="palettize", options={"bits": 4}),
    ),
}
ONE_THREAD = Target(threads=1)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    checkpoint = random_checkpoint.open_checkpoint(folder / "config.json")
    for name, recipe in RECIPES.items():
        model = build_model(checkpoint)
        for parameter in model.parameters():
            # Wider weights: at the spread of an initialisation every token is as probable as the next one.
            if parameter.ndim == 2:
                parameter.data *= 12
        changes = []
        for spec in recipe:
            module = transform(spec.kind)
            changes.append(module.apply(model, module.Options(**spec.options)))
        exporter.export(model, CONFIG, None, changes, checkpoint.source, recipe, folder / name, {})
    return folder


@pytest.fixture
def open_session(artifacts):
    opened = []

    def make(name="fp32", capacity=64, batch=1, target=ONE_THREAD, **decoding):
        session = torch_eager.open_session(artifacts / name, target, Decoding(**decoding), capacity, batch)
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.close()


def tokens(batch, count, seed=0):
    return np.random.default_rng(seed).integers(0, 96, (batch, count))


def model_logits(artifacts, name, ids):
    model, _ = exporter.load(artifacts / name)
    with torch.inference_mode():
        return model(torch.from_numpy(ids)).float().numpy()


@pytest.mark.parametrize("kv_cache", ["static", "growing", "none"])
@pytest.mark.parametrize("chunk", [0, 1, 7])
def test_prefill_and_decode_give_the_logits_of_one_whole_pass(artifacts, open_session, kv_cache, chunk):
    session = open_session(batch=2, kv_cache=kv_cache, prefill_chunk=chunk)
    ids = tokens(2, 30)
    expected = model_logits(artifacts, "fp32", ids)
    scale = np.abs(expected).max()
    # float32 in other orders of operations.
    for _ in range(2):
        np.testing.assert_allclose(session.prefill(ids[:, :20]), expected[:, 19], atol=1e-5 * scale)
        assert session.length == 20
        np.testing.assert_allclose(session.decode(ids[:, 20:21]), expected[:, 20:21], atol=1e-5 * scale)
        np.testing.assert_allclose(session.decode(ids[:, 21:30]), expected[:, 21:30], atol=1e-5 * scale)
        assert session.length == 30
    session.rewind(25)
    np.testing.assert_allclose(session.decode(ids[:, 25:26]), expected[:, 25:26], atol=1e-5 * scale)
    np.testing.assert_allclose(session.logits(ids), expected, atol=1e-5 * scale)
    assert session.length == 26
    assert session.decode(ids[:, 26:27]).dtype == np.float32


@pytest.mark.parametrize("kv_cache", ["static", "growing", "none"])
@pytest.mark.parametrize("chunk", [0, 1, 7])
def test_unequal_prompts_side_by_side_give_what_each_gives_alone(artifacts, open_session, kv_cache, chunk):
    session = open_session(batch=3, kv_cache=kv_cache, prefill_chunk=chunk)
    lengths, ids = (9, 20, 1), tokens(3, 30)
    alone = [model_logits(artifacts, "fp32", ids[row : row + 1, : n + 8])[0] for row, n in enumerate(lengths)]
    scale = max(np.abs(logits).max() for logits in alone)
    after = np.stack([ids[row, n : n + 8] for row, n in enumerate(lengths)])

    def expected(first, last):
        return np.stack([logits[n + first : n + last] for n, logits in zip(lengths, alone, strict=True)])

    for _ in range(2):
        found = session.prefill_prompts([ids[row, :n].tolist() for row, n in enumerate(lengths)])
        np.testing.assert_allclose(found, expected(-1, 0)[:, 0], atol=1e-5 * scale)
        assert session.length == 20
        for step in range(4):
            found = session.decode(after[:, step : step + 1])
            np.testing.assert_allclose(found, expected(step, step + 1), atol=1e-5 * scale)
        np.testing.assert_allclose(session.decode(after[:, 4:]), expected(4, 8), atol=1e-5 * scale)
        session.rewind(21)
        np.testing.assert_allclose(session.decode(after[:, 1:3]), expected(1, 3), atol=1e-5 * scale)
    with pytest.raises(ContractError, match="filled up by 19"):
        session.rewind(19)
    # Prompts of one length leave nothing of the padding behind.
    whole = model_logits(artifacts, "fp32", ids)
    np.testing.assert_allclose(session.prefill(ids[:, :20]), whole[:, 19], atol=1e-5 * scale)
    np.testing.assert_allclose(session.decode(ids[:, 20:22]), whole[:, 20:22], atol=1e-5 * scale)


@pytest.mark.parametrize("name", RECIPES)
def test_greedy_prompts_write_what_each_writes_alone(open_session, name):
    prompts = [tokens(1, count, seed=count)[0].tolist() for count in (3, 12, 1)]
    alone = [greedy(open_session(name), prompt, 12) for prompt in prompts]
    together = open_session(name, batch=3)
    if name in ("fp32", "lut4"):
        assert greedy_prompts(together, prompts, 12) == alone
    # A batch may use another kernel: bf16 ties may fall the other way, but not at the first token of most.
    assert sum(a[0] == b[0] for a, b in zip(greedy_prompts(together, prompts, 1), alone, strict=True)) >= 2
    assert greedy_prompts(together, prompts, 0) == [[], [], []]


def test_a_sequence_that_has_ended_waits_for_the_others(open_session):
    prompts = [tokens(1, count, seed=count)[0].tolist() for count in (3, 12)]
    alone = [greedy(open_session(), prompt, 12) for prompt in prompts]
    end = alone[0][2]
    expected = [greedy(open_session(), prompt, 12, eos_ids={end}) for prompt in prompts]
    assert len(expected[0]) <= 3
    assert greedy_prompts(open_session(batch=2), prompts, 12, eos_ids={end}) == expected


@pytest.mark.parametrize(
    ("prompts", "said"), [([], "there is none"), ([[1], []], "no tokens"), ([[1]], "batch of 2"), ([[1], [96]], "96")]
)
def test_prompts_that_do_not_fit_the_session_are_refused(open_session, prompts, said):
    with pytest.raises(ContractError, match=said):
        open_session(batch=2).prefill_prompts(prompts)


@pytest.mark.parametrize("name", RECIPES)
def test_greedy_tokens_are_the_same_with_and_without_a_cache(artifacts, open_session, name):
    prompt = tokens(1, 10)[0].tolist()
    plain = []
    for _ in range(24):
        logits = model_logits(artifacts, name, np.array([prompt + plain]))[0, -1]
        plain.append(int(np.flatnonzero(logits == logits.max())[0]))
    assert len(set(plain)) > 3
    for kv_cache in ("static", "growing", "none"):
        assert greedy(open_session(name, kv_cache=kv_cache), prompt, 24) == plain


@pytest.mark.parametrize("name", RECIPES)
def test_facts_are_read_from_what_was_loaded(open_session, name):
    session = open_session(name, capacity=32)
    assert "kernels" not in session.facts
    session.prefill(tokens(1, 4))
    facts = session.facts
    element = 4 if name == "fp32" else 2
    assert facts["threads"] == 1
    assert facts["device"] == "cpu"
    assert facts["activations_dtype"] == ("float32" if name == "fp32" else "bfloat16")
    assert (
        facts["weights_dtype"]
        == {
            "fp32": ("float32",),
            "bf16": ("bfloat16",),
            "int8": ("int8", "bfloat16"),
            "lut4": ("bfloat16",),
        }[name]
    )
    assert ("aten::_weight_int8pack_mm" in facts["kernels"]) == (name == "int8")
    assert any("attention" in kernel for kernel in facts["kernels"])
    assert session.kv_cache_bytes == 2 * 2 * 2 * 32 * 8 * element
    assert session.length == 4


def test_a_session_without_a_cache_has_no_cache_bytes(open_session):
    session = open_session(kv_cache="none")
    assert session.kv_cache_bytes == 0
    assert session.facts["kv_cache"] == "none"


def test_a_growing_cache_takes_memory_as_it_is_needed(open_session):
    session = open_session(capacity=64, kv_cache="growing")
    assert (session.facts["kv_cache"], session.facts["kv_cache_bytes"]) == ("growing", 0)
    session.prefill(tokens(1, 4))
    # Layers, keys and values, heads, width, bytes of a number: all 64 tokens are less than one step.
    assert session.kv_cache_bytes == 2 * 2 * 2 * 64 * 8 * 4
    assert session.facts["kv_cache_bytes"] == session.kv_cache_bytes
    session.close()
    assert session.facts["kv_cache_bytes"] == 2 * 2 * 2 * 64 * 8 * 4


def test_nothing_is_truncated_or_clamped(open_session):
    session = open_session(capacity=16)
    with pytest.raises(ContractError, match=r"hold 17 tokens.*opened for 16"):
        session.prefill(tokens(1, 17))
    session.prefill(tokens(1, 15))
    with pytest.raises(ContractError, match="hold 17 tokens"):
        session.decode(tokens(1, 2))
    assert session.length == 15
    with pytest.raises(ContractError, match="context is 64"):
        session.logits(tokens(1, 65))
    with pytest.raises(ContractError, match="the session holds 15"):
        session.rewind(16)
    with pytest.raises(ContractError, match="batch of 1"):
        session.decode(tokens(2, 1))
    with pytest.raises(ContractError, match="at least one token"):
        session.prefill(tokens(1, 0))
    for outside in (-1, 96):
        with pytest.raises(ContractError, match="vocabulary has 96"):
            session.decode(np.array([[outside]]))
    with pytest.raises(ContractError, match="float64"):
        session.decode(np.array([[1.5]]))


@pytest.mark.parametrize("capacity", [0, 65])
def test_a_capacity_beyond_the_context_is_refused(artifacts, capacity):
    with pytest.raises(ContractError, match="context is 64 tokens"):
        torch_eager.open_session(artifacts / "fp32", ONE_THREAD, Decoding(), capacity)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Target(format="onnx"), "reads the format torch"),
        (Target(compute_units="cpu_and_ne"), "compute units"),
        (Target(device="tpu"), "torch .* finds cpu"),
        (Target(device="cpu:x"), "finds cpu"),
    ],
)
def test_what_torch_cannot_carry_is_unsupported(artifacts, target, said):
    with pytest.raises(UnsupportedError, match=said):
        torch_eager.open_session(artifacts / "fp32", target, Decoding(), 8)


def test_closing_twice_is_harmless_and_leaves_the_facts(open_session):
    session = open_session()
    session.prefill(tokens(1, 4))
    session.sync()
    session.close()
    session.close()
    assert session.facts["kernels"]


def test_the_probe_tells_what_torch_is(open_session):
    probe = torch_eager.probe()
    assert probe.usable
    assert probe.version == torch.__version__
    assert probe.devices[0] == "cpu"
    assert probe.facts["cpu_capability"] == torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize(
    "device", [pytest.param("cuda", marks=pytest.mark.cuda), pytest.param("mps", marks=pytest.mark.mps)]
)
def test_another_device_gives_the_same_tokens(open_session, device):
    prompt = tokens(1, 10)[0].tolist()
    expected = greedy(open_session(), prompt, 12)
    session = open_session(target=Target(device=device))
    assert greedy(session, prompt, 12) == expected
    session.sync()
    assert session.facts["device"] == device


def test_a_palettized_layer_is_probed_for_the_bits_that_it_claims(open_session):
    assert open_session("lut4").facts["weights_have_claimed_bits"] is True
    assert "weights_have_claimed_bits" not in open_session("int8").facts


def test_a_float32_session_tells_what_its_products_are(open_session):
    session = open_session("fp32")
    assert "matmul_precision" not in session.facts
    session.prefill(np.asarray([[1, 2, 3]]))
    assert session.facts["matmul_precision"] in ("float32", "tf32", "bfloat16")
    assert "matmul_precision" not in open_session("bf16").facts


@pytest.mark.parametrize("kv_cache", ["static", "growing", "none"])
@pytest.mark.parametrize("chunk", [0, 3])
def test_a_head_on_all_tokens_gives_the_same_last_logits(open_session, kv_cache, chunk):
    tokens = np.arange(1, 9, dtype=np.int64)[None, :] % 7
    last = open_session(batch=1, kv_cache=kv_cache, prefill_chunk=chunk)
    whole = open_session(batch=1, kv_cache=kv_cache, prefill_chunk=chunk, head="all")
    assert (last.facts["prefill_head"], whole.facts["prefill_head"]) == ("last", "all")
    np.testing.assert_allclose(whole.prefill(tokens), last.prefill(tokens), rtol=1e-5, atol=1e-5)


def test_the_outputs_of_the_layers_are_those_of_the_model(open_session):
    session = open_session()
    outputs = session.layer_outputs(tokens(1, 7))
    assert [name for name, _ in outputs] == ["model.layers.0", "model.layers.1"]
    assert {values.shape for _, values in outputs} == {(1, 7, CONFIG["hidden_size"])}
    # The norm and the head behind the last layer give the logits: nothing was left out, and nothing changed.
    model = session._model
    hidden = torch.from_numpy(outputs[-1][1])
    logits = model.lm_head(model.model.norm(hidden)).detach().numpy()
    np.testing.assert_allclose(logits, session.logits(tokens(1, 7)), rtol=1e-5, atol=1e-5)
    assert not any(layer._forward_hooks for layer in model.model.layers)
