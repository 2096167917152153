"""Dequantisation against the gguf package's own, bit for bit."""

import gguf
import numpy as np
import pytest

from assay.build.checkpoints.gguf import dequantise
from assay.build.checkpoints.gguf_blocks import BLOCK_TYPES
from assay.build.checkpoints.gguf_container import read_gguf

KNOWN_TO_GGUF = [block for block in BLOCK_TYPES.values() if block.name != "F64"]


@pytest.mark.parametrize("block", KNOWN_TO_GGUF, ids=lambda block: block.name)
def test_random_blocks_are_bit_equal_to_the_gguf_package(block):
    kind = gguf.GGMLQuantizationType[block.name]
    assert kind == block.code
    assert gguf.GGML_QUANT_SIZES[kind] == (block.elements, block.block_bytes)
    blocks = np.random.default_rng(block.code).integers(0, 256, (3000, block.block_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(blocks, kind).reshape(len(blocks), block.elements)
        found = block.dequantise(blocks)
    not_a_number = np.isnan(expected)  # random float16 scales hold some; their payload bits mean nothing
    np.testing.assert_array_equal(np.isnan(found), not_a_number)
    np.testing.assert_array_equal(found[~not_a_number].view(np.uint32), expected[~not_a_number].view(np.uint32))


def test_float64_is_rounded_to_float32():
    values = np.array([[1.0], [1 / 3], [-2.5e-310]])
    found = BLOCK_TYPES[28].dequantise(values.view(np.uint8))
    np.testing.assert_array_equal(found, values.astype(np.float32))


@pytest.mark.weights
@pytest.mark.parametrize("fixture", ["smollm2_path", "gemma3_path"])
def test_every_tensor_of_a_real_file_is_bit_equal_to_the_gguf_package(fixture, request):
    file = read_gguf(request.getfixturevalue(fixture))
    for name, info in file.tensors.items():
        # Of the largest embedding the last rows: as telling, and within seconds.
        rows = min(info.shape[0], 20_000)
        stored = np.frombuffer(file.data, np.uint8, info.size_bytes, info.start).reshape(info.shape[0], -1)[-rows:]
        expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[info.block_type.name]).reshape(rows, -1)
        found = dequantise(file, info)
        assert found.shape == info.shape
        assert np.array_equal(found[-rows:].reshape(rows, -1).view(np.uint32), expected.view(np.uint32)), name


@pytest.mark.weights
@pytest.mark.parametrize("fixture", ["smollm2_path", pytest.param("gemma3_path", marks=pytest.mark.slow)])
def test_the_directory_of_a_real_file_is_that_of_the_gguf_package(fixture, request):
    path = request.getfixturevalue(fixture)
    file = read_gguf(path)
    reference = gguf.GGUFReader(path)
    expected = [
        (t.name, tuple(int(size) for size in reversed(t.shape)), t.tensor_type.name, t.data_offset, t.n_bytes)
        for t in reference.tensors
    ]
    found = [(i.name, i.shape, i.block_type.name, i.start, i.size_bytes) for i in file.tensors.values()]
    assert found == expected
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
        assert list(file.metadata[key]) == reference.fields[key].contents()
