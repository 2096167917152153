"""Every metric that Assay records: its name, its unit, and which direction is better. It refuses unknown names."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class Metric:
    """One quantity. `unit` is SI or `tok/s`, `nats`, `dB`, `bit`, `1` for a fraction or a ratio."""

    name: str
    unit: str
    better: Direction
    title: str


_ALL = (
    Metric("weight_bytes", "B", "lower", "weights on disk"),
    Metric("bits_per_weight", "bit", "lower", "bits per weight"),
    Metric("import_s", "s", "lower", "import of the runtime"),
    Metric("load_s", "s", "lower", "load"),
    Metric("compile_s", "s", "lower", "compile or convert"),
    Metric("first_call_s", "s", "lower", "first call"),
    Metric("prefill_s", "s", "lower", "prefill (time to first token)"),
    Metric("prefill_tok_per_s", "tok/s", "higher", "prefill"),
    Metric("tpot_s", "s", "lower", "time per output token"),
    Metric("decode_tok_per_s", "tok/s", "higher", "decode"),
    Metric("end_to_end_s", "s", "lower", "prefill and decode, end to end"),
    Metric("train_step_s", "s", "lower", "training step"),
    Metric("train_tok_per_s", "tok/s", "higher", "training"),
    Metric("encode_s", "s", "lower", "encoding of a batch"),
    Metric("sequences_per_s", "seq/s", "higher", "encode"),
    Metric("forward_s", "s", "lower", "forward"),
    Metric("backward_s", "s", "lower", "backward"),
    Metric("optimizer_step_s", "s", "lower", "optimizer step"),
    Metric("ttft_s", "s", "lower", "time to first token"),
    Metric("tok_per_s", "tok/s", "higher", "tokens per second"),
    Metric("items_per_s", "1/s", "higher", "sequences or requests per second"),
    Metric("achieved_flops_per_s", "FLOP/s", "higher", "FLOP/s"),
    Metric("utilisation", "1", "higher", "device utilisation"),
    Metric("accuracy", "1", "higher", "accuracy"),
    Metric("acceptance_rate", "1", "higher", "accepted draft tokens"),
    Metric("call_s", "s", "lower", "time per call"),
    Metric("call_p90_s", "s", "lower", "90th percentile of a call"),
    Metric("call_p99_s", "s", "lower", "99th percentile of a call"),
    Metric("call_cpu_s", "s", "lower", "CPU time per call"),
    Metric("cpu_s", "s", "lower", "process CPU time"),
    Metric("peak_rss_bytes", "B", "lower", "peak memory"),
    Metric("peak_anonymous_bytes", "B", "lower", "peak anonymous memory"),
    Metric("file_mapped_bytes", "B", "lower", "file-mapped memory"),
    Metric("load_peak_rss_bytes", "B", "lower", "peak memory while loading"),
    Metric("resident_weight_bytes", "B", "lower", "weights in memory"),
    Metric("kv_cache_bytes", "B", "lower", "KV cache"),
    Metric("gradient_bytes", "B", "lower", "gradients"),
    Metric("optimizer_state_bytes", "B", "lower", "optimizer state"),
    Metric("activation_bytes", "B", "lower", "activations kept for the backward pass"),
    Metric("device_peak_bytes", "B", "lower", "peak device memory"),
    Metric("energy_j", "J", "lower", "energy of a call"),
    Metric("net_energy_j", "J", "lower", "energy of a call above idle"),
    Metric("power_w", "W", "lower", "mean power"),
    Metric("nll_nats", "nats", "lower", "negative log-likelihood per token"),
    Metric("perplexity", "1", "lower", "perplexity"),
    Metric("perplexity_ratio", "1", "lower", "perplexity / reference"),
    Metric("kl_nats", "nats", "lower", "KL divergence from the reference"),
    Metric("kl_median_nats", "nats", "lower", "median KL divergence"),
    Metric("kl_p99_nats", "nats", "lower", "99th percentile of the KL divergence"),
    Metric("kl_p999_nats", "nats", "lower", "99.9th percentile of the KL divergence"),
    Metric("kl_max_nats", "nats", "lower", "largest KL divergence"),
    Metric("top1_agreement", "1", "higher", "top-1 agreement"),
    Metric("rms_probability_difference", "1", "lower", "RMS difference of the probability of the target"),
    Metric("psnr_db", "dB", "higher", "PSNR of the logits"),
    Metric("max_logit_difference", "1", "lower", "largest logit difference"),
    Metric("greedy_tokens_equal", "1", "higher", "greedy tokens before the first that differs"),
    Metric("greedy_margin_nats", "nats", "none", "reference's margin where the greedy tokens first differ"),
    Metric("cosine_mean", "1", "higher", "mean cosine with the reference's embedding"),
    Metric("cosine_min", "1", "higher", "least cosine with the reference's embedding"),
    Metric("label_agreement", "1", "higher", "label agreement"),
    Metric("text_compression", "1", "none", "compression of its text"),
    Metric("text_distinct_2", "1", "none", "different pairs of tokens"),
    Metric("text_repeated_4grams", "1", "none", "repeated 4-grams"),
    Metric("text_script_share", "1", "none", "letters of one script"),
    Metric("text_longest_word", "1", "none", "longest word, characters"),
    Metric("text_nll_nats", "nats", "none", "its text to the reference"),
    Metric("predicted_s", "s", "none", "predicted time of a call"),
    Metric("mfu", "1", "higher", "model FLOPs utilisation"),
    Metric("mbu", "1", "higher", "model bandwidth utilisation"),
)

METRICS = MappingProxyType({metric.name: metric for metric in _ALL})
