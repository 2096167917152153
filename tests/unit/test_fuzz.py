"""Mutated GGUF, safetensors and study files: only Assay's own errors, no hang, no memory for what a header claims.

Run as a program (`test_fuzz.py gguf 10000`) it allows itself 1 GiB beyond what it starts with, and 20 s an example.
"""

import resource
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf as gguf_package
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from assay import catalog
from assay.build.checkpoints import gguf, hf_directory
from assay.core.errors import AssayError, TokenizerError
from assay.core.study_file import read_study
from assay.pipeline.plan import plan_rows

GIB = 1 << 30
HANG_S = 20
"""Far beyond the milliseconds that an example takes on a busy machine: what takes this long hangs."""


def gguf_file() -> bytes:
    """A small llama with a vocabulary, in several types of block."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.gguf"
        writer = gguf_package.GGUFWriter(path, "llama")
        writer.add_block_count(1)
        writer.add_context_length(16)
        writer.add_embedding_length(256)
        writer.add_feed_forward_length(32)
        writer.add_head_count(2)
        writer.add_head_count_kv(1)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_array("x.nested", [[1, 2], [3]])
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        tokens = ["<s>", "</s>", *"abcdefgh", "ab", "abc", "Ġ"]
        writer.add_token_list(tokens)
        writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
        writer.add_token_merges(["a b", "ab c"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        rng = np.random.default_rng(0)
        for name, kind in (
            ("token_embd", "Q4_K"),
            ("blk.0.attn_q", "Q8_0"),
            ("blk.0.attn_k", "Q6_K"),
            ("output", "Q4_1"),
        ):
            kind = gguf_package.GGMLQuantizationType[kind]
            elements, size = gguf_package.GGML_QUANT_SIZES[kind]
            # Below 60 no two bytes are a float16 that is NaN or infinite.
            blocks = rng.integers(0, 60, (4, 256 // elements * size), dtype=np.uint8)
            writer.add_tensor(f"{name}.weight", blocks, raw_dtype=kind)
        writer.add_tensor("output_norm.weight", np.ones(256, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def safetensors_file() -> bytes:
    """Four tensors of different types."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.safetensors"
        tensors = {
            "a": torch.ones(4, 4),
            "b": torch.ones(3, dtype=torch.bfloat16),
            "c": torch.ones((), dtype=torch.int64),
        }
        save_file(tensors | {"d": torch.ones(2, dtype=torch.bool)}, path, metadata={"format": "pt"})
        return path.read_bytes()


def read_gguf_whole(folder: Path, content: bytes) -> None:
    path = folder / "mutated.gguf"
    path.write_bytes(content)
    checkpoint = gguf.open_checkpoint(path)
    for name in checkpoint.tensor_names():
        assert tuple(checkpoint.tensor(name).shape) == checkpoint.shape(name)
    for key in checkpoint.metadata:
        checkpoint.metadata[key]
    try:
        tokenizer = checkpoint.tokenizer()
    except TokenizerError:
        return
    tokenizer.decode(tokenizer.encode("abc a"))


def read_safetensors_whole(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(content)
    checkpoint = hf_directory.open_checkpoint(folder)
    for name in checkpoint.tensor_names():
        assert tuple(checkpoint.tensor(name).shape) == checkpoint.shape(name)


def read_study_whole(folder: Path, content: bytes) -> None:
    path = folder / "mutated.toml"
    path.write_bytes(content)
    study = read_study(path)
    assert plan_rows(study)
    for spec in (spec for variant in study.variants for spec in variant.transforms):
        catalog.options(spec)


KINDS = {
    "gguf": (gguf_file(), read_gguf_whole),
    "safetensors": (safetensors_file(), read_safetensors_whole),
    "study": ((Path(__file__).parents[2] / "examples" / "demo.toml").read_bytes(), read_study_whole),
}
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    9,
    12,
    31,
    255,
    1 << 15,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def mutations(seed: bytes) -> st.SearchStrategy[bytes]:
    """One to four changes: a byte, a number inflated, a cut, a piece repeated, taken out or swapped."""
    header = min(len(seed), 3000)  # what decides is in the header, so most changes fall there
    places = st.one_of(st.integers(0, header - 1), st.integers(0, len(seed) - 1))
    changes = st.one_of(
        st.tuples(st.just("byte"), places, st.integers(0, 255)),
        st.tuples(st.just("u32"), places, st.sampled_from(NUMBERS)),
        st.tuples(st.just("u64"), places, st.sampled_from(NUMBERS)),
        st.tuples(st.just("digits"), places, st.sampled_from(NUMBERS)),
        st.tuples(st.just("cut"), places, st.just(0)),
        st.tuples(st.just("repeat"), places, st.integers(1, 64)),
        st.tuples(st.just("remove"), places, st.integers(1, 64)),
        st.tuples(st.just("swap"), places, places),
    )
    return st.lists(changes, min_size=1, max_size=4).map(lambda listed: mutated(seed, listed))


def mutated(seed: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    data = bytearray(seed)
    for kind, place, value in changes:
        match kind:
            case "byte":
                data[place : place + 1] = bytes([value])
            case "u32":
                data[place : place + 4] = struct.pack("<I", value & 0xFFFFFFFF)
            case "u64":
                data[place : place + 8] = struct.pack("<Q", value)
            case "digits":
                data[place : place + 1] = str(value).encode()
            case "cut":
                del data[place:]
            case "repeat":
                data[place:place] = data[place : place + value]
            case "remove":
                del data[place : place + value]
            case _:
                data[place : place + 8], data[value : value + 8] = data[value : value + 8], data[place : place + 8]
    return bytes(data)


def check(kind: str, examples: int, folder: Path, before=lambda: None) -> dict[str, int]:
    """Feed mutated files; anything but AssayError escapes. Returns how many were read and refused."""
    seed, read = KINDS[kind]
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(mutations(seed))
    def feed(content: bytes) -> None:
        before()
        try:
            read(folder, content)
        except AssayError:
            counts["refused"] += 1
        else:
            counts["read"] += 1

    feed()
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_the_unmutated_file_is_read(kind, tmp_path):
    seed, read = KINDS[kind]
    read(tmp_path, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(kind, tmp_path):
    counts = check(kind, 300, tmp_path)
    assert counts["refused"] > 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is set through Linux's address space")
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_mutated_files_within_one_gibibyte(kind):
    done = subprocess.run([sys.executable, __file__, kind, "10000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    assert "examples of" in done.stdout


def peak_bytes() -> int:
    """VmHWM, and not ru_maxrss: that one is inherited from the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main(kind: str, examples: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + GIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    start = peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        counts = check(kind, examples, Path(folder), before=lambda: signal.alarm(HANG_S))
    signal.alarm(0)
    peak = peak_bytes()
    assert sum(counts.values()) >= examples
    assert peak < GIB
    print(f"{sum(counts.values())} examples of {kind}: {counts}; memory {start >> 20} to {peak >> 20} MiB")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
