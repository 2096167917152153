"""What other tools write, as they write it, with the figures that a reader must find. Shared by tests of readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def latency(values: list[float]) -> dict[str, Any]:
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return {
        "unit": "s",
        "values": values,
        "count": len(values),
        "total": sum(values),
        "mean": mean,
        "p50": values[0],
        "p90": max(values),
        "p95": max(values),
        "p99": max(values),
        "stdev": spread,
        "stdev_": 100 * spread / mean,
    }


MEMORY = {
    "unit": "MB",
    "max_ram": 1395.17,
    "max_global_vram": 7426.4,
    "max_process_vram": 7465.8,
    "max_reserved": 6952.0,
    "max_allocated": 6506.6,
}
OPTIMUM = {
    "config": {
        "name": "pytorch-llama",
        "backend": {
            "name": "pytorch",
            "model": "meta-llama/Llama-2-7b-hf",
            "torch_dtype": "float16",
            "device": "cuda",
            "torch_compile": False,
        },
        "scenario": {
            "name": "inference",
            "input_shapes": {"batch_size": 1, "sequence_length": 256},
            "generate_kwargs": {"max_new_tokens": 32, "min_new_tokens": 32},
        },
        "environment": {"cpu": " AMD EPYC 7742", "gpu": ["NVIDIA A100-SXM4-80GB"]},
    },
    "report": {
        "load_model": {
            "memory": MEMORY,
            "latency": latency([34.9]),
            "throughput": None,
            "energy": None,
            "efficiency": None,
        },
        "prefill": {
            "memory": MEMORY,
            "latency": latency([0.0600, 0.0598, 0.0602]),
            "throughput": {"unit": "tokens/s", "value": 256 / 0.06},
            "energy": None,
            "efficiency": None,
        },
        "decode": {
            "memory": MEMORY,
            "latency": latency([0.78, 0.77, 0.79]),
            "throughput": {"unit": "tokens/s", "value": 31 / 0.78},
            "energy": None,
            "efficiency": None,
        },
        "per_token": {
            "memory": None,
            "latency": latency([0.0251, 0.0252, 0.0250]),
            "throughput": {"unit": "tokens/s", "value": 39.7},
            "energy": None,
            "efficiency": None,
        },
    },
}
LLAMA = [
    {
        "build_commit": "abc",
        "build_number": 4000,
        "cpu_info": "AMD EPYC",
        "gpu_info": "",
        "backends": "CPU",
        "model_filename": "m.gguf",
        "model_type": "llama 1B Q4_0",
        "model_size": 636000000,
        "model_n_params": 1100000000,
        "n_batch": 2048,
        "n_threads": 8,
        "n_gpu_layers": 0,
        "n_prompt": 512,
        "n_gen": 0,
        "n_depth": 0,
        "test_time": "2025-01-01T00:00:00Z",
        "avg_ns": 1807000000,
        "stddev_ns": 8000000,
        "avg_ts": 283.34,
        "stddev_ts": 1.25,
        "samples_ns": [1799000000, 1815000000],
        "samples_ts": [284.6, 282.1],
    },
    {
        "build_commit": "abc",
        "cpu_info": "AMD EPYC",
        "gpu_info": "",
        "backends": "CPU",
        "model_type": "llama 1B Q4_0",
        "model_size": 636000000,
        "model_n_params": 1100000000,
        "n_threads": 8,
        "n_gpu_layers": 0,
        "n_prompt": 0,
        "n_gen": 128,
        "n_depth": 256,
        "avg_ns": 2173000000,
        "stddev_ns": 9000000,
        "avg_ts": 58.9,
        "stddev_ts": 0.24,
        "samples_ns": [2164000000, 2182000000],
        "samples_ts": [59.14, 58.66],
    },
]
LLAMA_CSV = """model_type,n_threads,n_prompt,n_gen,avg_ns,stddev_ns,avg_ts,stddev_ts
"m","8","512","0","1807000000","8000000","283.34","1.25"
"""
PYPERF = {
    "version": "1.0",
    "metadata": {"cpu_model_name": "Intel Xeon", "unit": "second"},
    "benchmarks": [
        {
            "metadata": {"name": "decode fp16"},
            "runs": [
                {"metadata": {}, "warmups": [[1, 0.5]], "values": [0.020, 0.021]},
                {"metadata": {}, "values": [0.022, 0.021]},
            ],
        },
        {"metadata": {"name": "memory", "unit": "byte"}, "runs": [{"values": [1e6]}]},
    ],
}
VLLM = {
    "date": "20250101-000000",
    "backend": "vllm",
    "model_id": "Qwen/Qwen2-0.5B",
    "num_prompts": 32,
    "max_concurrency": 4,
    "duration": 20.0,
    "completed": 32,
    "total_input_tokens": 16384,
    "total_output_tokens": 4096,
    "request_throughput": 1.6,
    "output_throughput": 204.8,
    "mean_ttft_ms": 81.0,
    "median_ttft_ms": 80.0,
    "std_ttft_ms": 4.0,
    "p99_ttft_ms": 99.0,
    "mean_tpot_ms": 19.0,
    "std_tpot_ms": 1.0,
}
VLLM_TEXT = """
============ Serving Benchmark Result ============
Successful requests:                     32
Benchmark duration (s):                  20.00
Total input tokens:                      16384
Total generated tokens:                  4096
Request throughput (req/s):              1.60
Output token throughput (tok/s):         204.80
---------------Time to First Token----------------
Mean TTFT (ms):                          81.00
Median TTFT (ms):                        80.00
P99 TTFT (ms):                           99.00
==================================================
"""
LM_EVAL = {
    "results": {
        "wikitext": {
            "alias": "wikitext",
            "word_perplexity,none": 37.37,
            "word_perplexity_stderr,none": "N/A",
            "bits_per_byte,none": 0.98,
        },
        "hellaswag": {"alias": "hellaswag", "acc,none": 0.289, "acc_stderr,none": 0.0045, "acc_norm,none": 0.311},
    },
    "config": {"model": "hf", "model_args": "pretrained=gpt2,dtype=float16", "batch_size": "8", "device": "cuda:0"},
    "model_name": "gpt2",
    "model_source": "hf",
}
NVIDIA = """timestamp, name, power.draw [W], utilization.gpu [%], memory.used [MiB], power.limit [W]
2025/01/01 00:00:00.000, NVIDIA A100-SXM4-80GB, 300.00 W, 90 %, 1000 MiB, 400.00 W
2025/01/01 00:00:01.000, NVIDIA A100-SXM4-80GB, 310.00 W, 92 %, 1200 MiB, 400.00 W
2025/01/01 00:00:02.000, NVIDIA A100-SXM4-80GB, [N/A], [N/A], [N/A], 400.00 W
"""
DMON = """# gpu    pwr  gtemp  mtemp     sm    mem
# Idx      W      C      C      %      %
    0    300     60      -     90     40
    0    310     61      -     92     41
"""
POWERMETRICS = """Machine model: MacBookPro18,1
*** Sampled system activity (Wed Jan  1 00:00:00 2025 +0100) (1001.27ms elapsed) ***
CPU Power: 1000 mW
GPU Power: 5000 mW
ANE Power: 0 mW
Combined Power (CPU + GPU + ANE): 6000 mW
GPU HW active residency:  80.00% (389 MHz: 10%)
*** Sampled system activity (Wed Jan  1 00:00:01 2025 +0100) (1000.13ms elapsed) ***
CPU Power: 1200 mW
GPU Power: 5400 mW
ANE Power: 0 mW
Combined Power (CPU + GPU + ANE): 6600 mW
"""
NOTES = """GPT-2 on an M1, context 512

ComputeUnit.All = GPU 975, ANE 370, 283ms prediction, 940ms load
ComputeUnit.CPUOnly = CPU 1345, 310ms prediction, 200ms load, looks odd
"""
XCODE = """Performance Report
Device: iPhone 15 Pro
Compute Units: All
Prediction: 283.4 ms
Load: 940.2 ms
Compilation: 12.3 s
Compute Unit Mapping
Neural Engine: 370
GPU: 975
"""
PLAN = """operation ios17.const, device <MLCPUComputeDevice: 0x1>, cost 0%
operation ios17.mul, device <MLCPUComputeDevice: 0x1>, cost 4.6%
operation ios17.conv, device <MLNeuralEngineComputeDevice: 0x2>, cost 0.5%
operation ios17.conv, device <MLNeuralEngineComputeDevice: 0x2>, cost 4.5%
operation ios17.cast, device (null)
"""
INSPECT = """func main(input_ids) {
           var_137 = const()
0.17% G|CN var_145 = ios16.mul(x: ["x"], y: ["y"])
0.68% N|CN x_1 = ios16.gather(x: ["w"])
"""
PLAN_JSON = [
    {"operator": "ios16.conv", "preferred": "MLNeuralEngineComputeDevice"},
    {"operator": "ios16.add", "preferred": "GPU"},
    {"operator": "const", "preferred": "CPU"},
    {"operator": "ios16.mul", "preferred": None},
]

Wanted = Mapping[tuple[str, str], float]
CASES: list[tuple[str, str, str, Wanted]] = [
    (
        "optimum-benchmark",
        "benchmark.json",
        json.dumps(OPTIMUM),
        {
            ("pytorch-llama", "prefill_s"): 0.06,
            ("pytorch-llama", "tpot_s"): 0.0251,
            ("pytorch-llama", "load_s"): 34.9,
            ("pytorch-llama", "decode_tok_per_s"): 31 / 0.78,
            ("pytorch-llama", "device_peak_bytes@decode"): 6506.6e6,
        },
    ),
    ("optimum-benchmark", "report.json", json.dumps(OPTIMUM["report"]), {("report", "prefill_tok_per_s"): 256 / 0.06}),
    (
        "llama-bench",
        "lb.json",
        json.dumps(LLAMA),
        {
            ("llama 1B Q4_0, pp512", "prefill_tok_per_s"): 283.34,
            ("llama 1B Q4_0, pp512", "prefill_s"): 1.807,
            ("llama 1B Q4_0, tg128 @ d256", "decode_tok_per_s"): 58.9,
        },
    ),
    ("llama-bench", "lb.jsonl", "\n".join(map(json.dumps, LLAMA)), {("llama 1B Q4_0, pp512", "prefill_s"): 1.807}),
    (
        "llama-bench",
        "lb.csv",
        LLAMA_CSV,
        {("m, pp512", "prefill_tok_per_s"): 283.34},
    ),
    ("pyperf", "p.json", json.dumps(PYPERF), {("decode fp16", "call_s"): 0.021}),
    (
        "vllm-bench",
        "v.json",
        json.dumps(VLLM),
        {
            ("Qwen/Qwen2-0.5B", "ttft_s"): 0.081,
            ("Qwen/Qwen2-0.5B", "tpot_s"): 0.019,
            ("Qwen/Qwen2-0.5B", "items_per_s"): 1.6,
        },
    ),
    ("vllm-bench", "v.txt", VLLM_TEXT, {("run 1", "ttft_s"): 0.081, ("run 1", "tok_per_s@output"): 204.8}),
    (
        "vllm-bench",
        "l.json",
        json.dumps({"avg_latency": 2.0, "latencies": [1.9, 2.1], "percentiles": {"50": 2.0}}),
        {("run 1", "end_to_end_s"): 2.0},
    ),
    (
        "lm-eval",
        "results.json",
        json.dumps(LM_EVAL),
        {("wikitext", "perplexity@word"): 37.37, ("hellaswag", "accuracy"): 0.289},
    ),
    (
        "nvidia-smi",
        "smi.csv",
        NVIDIA,
        {("NVIDIA A100-SXM4-80GB", "power_w"): 305.0, ("NVIDIA A100-SXM4-80GB", "utilisation"): 0.91},
    ),
    ("nvidia-smi", "dmon.txt", DMON, {("GPU 0", "power_w"): 305.0}),
    (
        "powermetrics",
        "pm.txt",
        POWERMETRICS,
        {("GPU power", "power_w"): 5.2, ("Combined power", "power_w"): 6.3},
    ),
    (
        "notes",
        "n.txt",
        NOTES,
        {
            ("All", "operations_gpu"): 975,
            ("All", "call_s"): 0.283,
            ("CPUOnly", "load_s"): 0.2,
        },
    ),
    (
        "xcode-report",
        "x.txt",
        XCODE,
        {
            ("iPhone 15 Pro, All", "call_s"): 0.2834,
            ("iPhone 15 Pro, All", "operations_ane"): 370,
            ("iPhone 15 Pro, All", "compile_s"): 12.3,
        },
    ),
    ("compute-plan", "plan.txt", PLAN, {("plan", "operations_ane"): 2, ("plan", "operations_cpu"): 1}),
    ("compute-plan", "plan.log", INSPECT, {("plan", "operations_ane"): 1, ("plan", "operations_gpu"): 1}),
    (
        "compute-plan",
        "plan.json",
        json.dumps(PLAN_JSON),
        {("plan", "operations_ane"): 1, ("plan", "operations_gpu"): 1, ("plan", "operations_cpu"): 0},
    ),
    (
        "json",
        "t.json",
        json.dumps(
            [
                {"model": "gpt2", "latency_ms": 12.5, "dtype": "fp16"},
                {"model": "smol", "latency_ms": 20, "dtype": "fp16"},
            ]
        ),
        {("gpt2", "call_s"): 0.0125},
    ),
    (
        "json",
        "m.json",
        json.dumps({"fp32": {"latency_ms": 2.0, "ppl": 30.0}, "fp16": {"latency_ms": 1.0, "ppl": 30.5}}),
        {("fp32", "call_s"): 0.002, ("fp16", "perplexity"): 30.5},
    ),
    ("delimited", "t.tsv", "model\tlatency_ms\ngpt2\t12.5\n", {("gpt2", "call_s"): 0.0125}),
    ("delimited", "t.csv", "model;latency_ms\ngpt2;12,5\n", {("gpt2", "call_s"): 0.0125}),
    ("markdown", "t.md", "|m|latency (ms)|\n|-|-|\n|gpt2|12.5|\n", {("gpt2", "call_s"): 0.0125}),
]
