"""Costs against transformers' own shapes and torch's counter of FLOPs, against figures in print, and by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import cost
from assay.core.errors import InputError
from assay.core.records import Absent, Artifact, Contract, ModelSource, Workload

NO_WINDOW = Absent(reason="the model has none")
GPT2_SMALL = Contract(
    architecture="gpt2", context_length=1024, sliding_window=NO_WINDOW, vocab_size=50257, num_hidden_layers=12,
    num_attention_heads=12, num_key_value_heads=12, head_dim=64, hidden_size=768, intermediate_size=3072,
    gated_mlp=False, tie_word_embeddings=True, dtype="float32",
)  # fmt: skip
SMOLLM2 = Contract(
    architecture="llama", context_length=8192, sliding_window=NO_WINDOW, vocab_size=49152, num_hidden_layers=30,
    num_attention_heads=9, num_key_value_heads=3, head_dim=64, hidden_size=576, intermediate_size=1536,
    gated_mlp=True, tie_word_embeddings=True, dtype="bfloat16",
)  # fmt: skip


def artifact(contract: Contract, decode_weight_bytes: int, resident_weight_bytes: int = 300) -> Artifact:
    return Artifact(
        digest="a",
        format="torch",
        source=ModelSource(kind="random", location="here", digest="b"),
        transforms=(),
        files=(),
        changes=(),
        contract=contract,
        parameter_count=100,
        weight_bytes=400,
        resident_weight_bytes=resident_weight_bytes,
        decode_weight_bytes=decode_weight_bytes,
        toolchain={},
    )


@pytest.mark.parametrize(("tokens", "gigaflops"), [(128, 32.2), (512, 136.0)])
def test_gpt2_small_costs_what_is_published(tokens: int, gigaflops: float) -> None:
    assert cost.forward_flops(GPT2_SMALL, 1, tokens) / 1e9 == pytest.approx(gigaflops, rel=0.002)


TINY_GPT2 = GPT2_SMALL.model_copy(
    update={"vocab_size": 101, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
            "head_dim": 8, "hidden_size": 32, "intermediate_size": 128}
)  # fmt: skip
TINY_LLAMA = SMOLLM2.model_copy(
    update={"vocab_size": 103, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
            "head_dim": 16, "hidden_size": 48, "intermediate_size": 80}
)  # fmt: skip


def transformers_model(contract: Contract) -> Any:
    """A random model of transformers, with attention written out so that its products are counted."""
    transformers = pytest.importorskip("transformers")
    if contract.architecture == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=contract.vocab_size, n_embd=contract.hidden_size, n_layer=contract.num_hidden_layers,
            n_head=contract.num_attention_heads, attn_implementation="eager",
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config).eval()
    config = transformers.LlamaConfig(
        vocab_size=contract.vocab_size, hidden_size=contract.hidden_size, head_dim=contract.head_dim,
        intermediate_size=contract.intermediate_size, num_hidden_layers=contract.num_hidden_layers,
        num_attention_heads=contract.num_attention_heads, num_key_value_heads=contract.num_key_value_heads,
        tie_word_embeddings=True, attn_implementation="eager",
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("contract", [TINY_GPT2, TINY_LLAMA], ids=["gpt2", "llama"])
def test_forward_flops_are_those_that_torch_counts(contract: Contract) -> None:
    """Exact: both count a multiplication and an addition of every product of matrices, masked scores included."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    model = transformers_model(contract)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(2, 64, dtype=torch.int64), use_cache=False)
    assert cost.forward_flops(contract, 2, 64) == counter.get_total_flops()


@pytest.mark.parametrize("contract", [TINY_GPT2, TINY_LLAMA], ids=["gpt2", "llama"])
def test_matmul_parameters_are_the_weights_of_the_linear_layers(contract: Contract) -> None:
    matrices = [
        module.weight.numel()
        for module in transformers_model(contract).modules()
        if type(module).__name__ in ("Linear", "Conv1D")  # the tied head is a Linear as well
    ]
    assert cost.matmul_parameters(contract) == sum(matrices)


@given(st.integers(1, 4), st.integers(1, 2048))
def test_a_prefill_saves_the_head_of_all_but_one_position(batch: int, tokens: int) -> None:
    whole, prefill = (f(SMOLLM2, batch, tokens) for f in (cost.forward_flops, cost.prefill_flops))
    assert whole - prefill == 2 * batch * (tokens - 1) * 576 * 49152
    assert cost.prefill_flops(SMOLLM2, 1, 1) == cost.forward_flops(SMOLLM2, 1, 1)


@given(st.integers(1, 8192))
def test_a_decode_step_is_a_forward_of_one_token_that_attends_to_its_context(context: int) -> None:
    attention = 4 * 30 * context * 9 * 64
    assert cost.decode_flops(SMOLLM2, context) == 2 * cost.matmul_parameters(SMOLLM2) + attention
    assert cost.decode_flops(SMOLLM2, 1) == cost.forward_flops(SMOLLM2, 1, 1)


def test_only_half_of_the_attention_is_useful_under_a_causal_mask() -> None:
    linear = 2 * 512 * cost.matmul_parameters(GPT2_SMALL)
    whole, useful = (cost.forward_flops(GPT2_SMALL, 1, 512, causal_useful=half) - linear for half in (False, True))
    assert whole == 2 * useful


def test_a_window_bounds_what_attention_and_cache_cost() -> None:
    windowed = SMOLLM2.model_copy(update={"sliding_window": 512, "num_sliding_layers": 30})
    assert cost.decode_flops(windowed, 4096) == cost.decode_flops(SMOLLM2, 512)
    assert cost.decode_flops(windowed, 100) == cost.decode_flops(SMOLLM2, 100)
    built, plain = artifact(windowed, 1000), artifact(SMOLLM2, 1000)
    assert cost.decode_bytes(built, 4096) == cost.decode_bytes(plain, 512)
    assert cost.attended(windowed, 100) == 30 * 100


def test_local_and_global_layers_are_counted_apart() -> None:
    mixed = SMOLLM2.model_copy(update={"sliding_window": 512, "num_sliding_layers": 25})
    assert cost.attended(mixed, 4096) == 25 * 512 + 5 * 4096
    attention = 4 * (25 * 512 + 5 * 4096) * 9 * 64
    assert cost.decode_flops(mixed, 4096) == 2 * cost.matmul_parameters(SMOLLM2) + attention
    assert cost.kv_bytes(mixed, 4096) == (25 * 512 + 5 * 4096) * 2 * 3 * 64 * 2
    sharing = mixed.model_copy(update={"num_kv_shared_layers": 12})
    assert cost.kv_bytes(sharing, 4096) == (15 * 512 + 3 * 4096) * 2 * 3 * 64 * 2
    assert cost.decode_flops(sharing, 4096) == cost.decode_flops(mixed, 4096)


def test_products_that_a_plain_decoder_has_not_are_counted() -> None:
    more = SMOLLM2.model_copy(update={"extra_matmul_parameters": 1000})
    assert cost.matmul_parameters(more) == cost.matmul_parameters(SMOLLM2) + 1000
    fewer = SMOLLM2.model_copy(update={"extra_matmul_parameters": -1000})
    assert cost.decode_flops(fewer, 64) == cost.decode_flops(SMOLLM2, 64) - 2000


def test_training_is_three_or_four_forwards() -> None:
    forward = cost.forward_flops(GPT2_SMALL, 2, 64)
    assert cost.training_flops(GPT2_SMALL, 2, 64) == 3 * forward
    assert cost.training_flops(GPT2_SMALL, 2, 64, checkpointed=True) == 4 * forward


def test_the_cache_of_one_token_is_keys_and_values_of_all_layers() -> None:
    assert cost.kv_bytes_per_token(SMOLLM2) == 30 * 2 * 3 * 64 * 2
    assert cost.kv_bytes_per_token(GPT2_SMALL) == 12 * 2 * 768 * 4
    with pytest.raises(InputError, match="float3"):
        cost.kv_bytes_per_token(SMOLLM2.model_copy(update={"dtype": "float3"}))


def test_bytes_of_a_step_are_the_weights_once_and_every_cache() -> None:
    built = artifact(SMOLLM2, 269_000_000)
    assert cost.decode_bytes(built, 128, batch=3) == 269_000_000 + 3 * 128 * 23_040
    assert cost.prefill_bytes(built, 512, batch=2) == 269_000_000 + 2 * 512 * 23_040
    assert cost.resident_bytes(built, capacity=1024, batch=2) == 300 + 2 * 1024 * 23_040


def test_bits_of_a_quantised_weight() -> None:
    assert cost.quantised_bits(4, 32) == 4.5
    assert cost.quantised_bits(4, 64, zero_point_bits=4) == 4.3125


def test_a_prediction_says_what_bounds_it() -> None:
    decode = cost.predicted_seconds(2.7e8, 2.7e8, peak_flops=1e11, bandwidth=1e10)
    assert (decode.bound, decode.seconds) == ("bandwidth", pytest.approx(0.027))
    prefill = cost.predicted_seconds(1.4e11, 2.7e8, peak_flops=1e11, bandwidth=1e10, dispatches=300, floor_s=1e-5)
    assert (prefill.bound, prefill.seconds) == ("compute", pytest.approx(1.4 + 0.003))
    assert not prefill.overhead_bound
    assert cost.predicted_seconds(1, 1, 1e12, 1e10, dispatches=300, floor_s=1e-5).overhead_bound


@pytest.mark.parametrize(("peak", "bandwidth"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_prediction_needs_ceilings(peak: float, bandwidth: float) -> None:
    with pytest.raises(InputError, match="ceilings"):
        cost.predicted_seconds(1, 1, peak, bandwidth)


@given(st.floats(1, 1e15), st.floats(1, 1e12), st.floats(1e9, 1e15), st.floats(1e9, 1e13))
def test_at_the_predicted_time_no_utilisation_is_above_one(
    flops: float, moved: float, peak: float, bandwidth: float
) -> None:
    predicted = cost.predicted_seconds(flops, moved, peak, bandwidth)
    shares = cost.mfu(flops, predicted.seconds, peak), cost.mbu(moved, predicted.seconds, bandwidth)
    assert max(shares) == pytest.approx(1.0)
    assert (shares[0] >= shares[1]) == (predicted.bound == "compute") or shares[0] == pytest.approx(shares[1])


@pytest.mark.parametrize("batch", [1, 3])
def test_the_work_of_generating_is_a_prefill_and_the_steps_after_it(batch: int) -> None:
    made = artifact(SMOLLM2, 1000)

    def work(kind: Any, new: int) -> cost.Work:
        return cost.work(made, Workload(kind=kind, prompt_tokens=40, new_tokens=new, batch=batch))

    whole, prefill, step = work("generate", 9), work("prefill", 0), work("decode", 9)
    assert whole.flops == prefill.flops + 8 * step.flops
    assert whole.bytes_moved == prefill.bytes_moved + 8 * step.bytes_moved
    assert (whole.passes, prefill.passes, step.passes) == (9, 1, 1)
    assert (whole.tokens, prefill.tokens, step.tokens) == (9 * batch, 40 * batch, batch)
    assert step.flops == batch * cost.decode_flops(SMOLLM2, 44)
    assert step.bytes_moved == cost.decode_bytes(made, 44, batch)


def test_what_has_no_tokens_has_no_work() -> None:
    with pytest.raises(InputError, match="no tokens"):
        cost.work(artifact(SMOLLM2, 1000), Workload(kind="load"))


def test_a_session_holds_weights_cache_and_activations() -> None:
    made = artifact(SMOLLM2, 1000, resident_weight_bytes=5000)
    load = cost.session_bytes(made, Workload(kind="load"), capacity=64, batch=2)
    logits = 49152 * (2 + 4)
    assert load == 5000 + 2 * 64 * cost.kv_bytes_per_token(SMOLLM2) + logits
    prefill = cost.session_bytes(made, Workload(kind="prefill", prompt_tokens=10, batch=2), capacity=64, batch=2)
    assert prefill - load == 2 * 10 * 2 * (576 + 1536) * 2 + logits
