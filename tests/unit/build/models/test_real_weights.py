"""SmolLM2-135M and a real nanoGPT checkpoint: logits, greedy tokens and loss against independent computations."""

import numpy as np
import pytest
import torch

from assay.build.checkpoints import gguf, nanogpt
from assay.build.exporters import torch as exporter
from assay.build.families import build_model
from assay.core.errors import TokenizerError
from assay.core.records import Decoding, Target
from assay.run.decoding.greedy import greedy
from assay.run.runtimes import torch_eager

TEXT = (
    "The old lighthouse keeper opened the door and looked at the sea. It had been raining since the early morning, "
    "and the boats had stayed in the harbour. He counted them twice, as he did every day, and wrote the number "
    "in his book. "
)


@pytest.fixture(scope="module")
def artifact_directory(smollm2_path, tmp_path_factory):
    """SmolLM2 in float32, read from its GGUF and written as an artifact."""
    checkpoint = gguf.open_checkpoint(smollm2_path)
    model = build_model(checkpoint)
    directory = tmp_path_factory.mktemp("smollm2") / "fp32"
    tokenizer = checkpoint.tokenizer()
    artifact = exporter.export(model, checkpoint.config, tokenizer, (), checkpoint.source, (), directory, {})
    assert artifact.parameter_count == 134_515_008
    return directory


@pytest.fixture(scope="module")
def reference(smollm2_path):
    """SmolLM2 as transformers itself reads the GGUF file, with its own dequantisation, names and config."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = load_gguf_checkpoint(str(smollm2_path))["config"]
    model = LlamaForCausalLM(LlamaConfig(**config)).eval()
    tensors = load_gguf_checkpoint(str(smollm2_path), return_tensors=True, model_to_load=model)["tensors"]
    missing = model.load_state_dict(tensors, strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["lm_head.weight"], [])
    return model


@pytest.mark.weights
@pytest.mark.slow
def test_smollm2_gives_the_logits_and_the_tokens_of_transformers(artifact_directory, reference):
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(artifact_directory)(TEXT * 11)["input_ids"]
    session = torch_eager.open_session(artifact_directory, Target(), Decoding(), 256)
    window = torch.tensor([ids[:512]])
    assert window.shape == (1, 512)
    with torch.inference_mode():
        expected = reference(window).logits.numpy()
    found = session.logits(window.numpy())
    # The target of the project: 1e-4 of the largest logit, 30 layers in float32.
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    prompt = ids[:40]
    generated = reference.generate(
        torch.tensor([prompt]), max_new_tokens=64, min_new_tokens=64, do_sample=False, pad_token_id=2
    )
    assert greedy(session, prompt, 64) == generated[0, 40:].tolist()


@pytest.mark.weights
@pytest.mark.slow
def test_transformers_loads_the_artifact_of_smollm2_bit_by_bit(artifact_directory, reference):
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(artifact_directory, dtype="auto")
    assert theirs.dtype == torch.float32
    for name, parameter in reference.named_parameters():
        assert torch.equal(theirs.get_parameter(name), parameter), name


@pytest.mark.shared_data
@pytest.mark.slow
def test_nanogpt_gives_its_own_validation_loss(test_data):
    checkpoint = nanogpt.open_checkpoint(test_data / "nanogpt" / "ckpt.pt")
    with pytest.raises(TokenizerError):
        checkpoint.tokenizer()
    model = build_model(checkpoint)
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    text = (test_data / "nanogpt" / "input.txt").read_text(encoding="utf-8")
    ids = {character: number for number, character in enumerate(sorted(set(text)))}
    held_out = torch.tensor([ids[character] for character in text[int(0.9 * len(text)) :]])
    windows = (len(held_out) - 1) // 128
    inputs = held_out[: windows * 128].view(windows, 128)
    targets = held_out[1 : windows * 128 + 1].view(windows, 128)
    with torch.inference_mode():
        logits = model(inputs).double()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert (windows, len(held_out)) == (871, 111_540)
    # nanoGPT's own model, float32 weights and float64 loss; it prints six digits.
    assert loss.item() == pytest.approx(1.785650, abs=1e-5)
