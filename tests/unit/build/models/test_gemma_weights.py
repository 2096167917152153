"""Gemma-3-270M: logits and greedy tokens against transformers, which reads the same GGUF file by itself."""

import numpy as np
import pytest
import torch

from assay.build.checkpoints import gguf
from assay.build.exporters import torch as exporter
from assay.build.families import build_model
from assay.core.records import Decoding, Target
from assay.run import texts
from assay.run.decoding.greedy import greedy
from assay.run.runtimes import torch_eager

WINDOW = 512
PROMPTS = (
    "The old lighthouse keeper opened the door and",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Question: what is the capital of France, and which river runs through it?\nAnswer:",
    "Im Wald standen drei alte Eichen, und unter der groessten",
)


@pytest.fixture(scope="module")
def checkpoint(gemma3_path):
    return gguf.open_checkpoint(gemma3_path)


@pytest.fixture(scope="module")
def artifact_directory(checkpoint, tmp_path_factory):
    directory = tmp_path_factory.mktemp("gemma3") / "fp32"
    model = build_model(checkpoint)
    exporter.export(model, checkpoint.config, checkpoint.tokenizer(), (), checkpoint.source, (), directory, {})
    return directory


@pytest.fixture(scope="module")
def reference(gemma3_path):
    """Gemma 3 as transformers itself reads the GGUF file, with its own dequantisation, names and config."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = AutoConfig.from_pretrained(gemma3_path.parent, gguf_file=gemma3_path.name)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    tensors = load_gguf_checkpoint(str(gemma3_path), return_tensors=True, model_to_load=model)["tensors"]
    missing = model.load_state_dict(tensors, strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["lm_head.weight"], [])
    return model


def continued(model, prompt, count):
    """Logits of the prompt's last token and the greedy tokens behind it, with transformers' own cache."""
    from transformers import DynamicCache

    cache, ids, tokens, seen = DynamicCache(config=model.config), torch.tensor([prompt]), [], []
    with torch.inference_mode():
        while len(tokens) < count:
            seen.append(model(ids, past_key_values=cache, logits_to_keep=1).logits[:, -1])
            tokens.append(int(seen[-1].argmax()))
            ids = torch.tensor([tokens[-1:]])
    return seen[0].numpy(), tokens


@pytest.mark.weights
@pytest.mark.slow
def test_gemma3_gives_the_logits_and_the_tokens_of_transformers(checkpoint, artifact_directory, reference):
    tokenizer = checkpoint.tokenizer()
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    prompts.append(tokenizer.encode(texts.load_text(texts.PROSE).text)[: 3 * WINDOW + 64])
    assert len(prompts[-1]) == 3 * WINDOW + 64
    for prompt in prompts:
        expected, tokens = continued(reference, prompt, 64)
        # The window wraps inside of a chunk, at its edge, and in the middle of decoding.
        for chunk in (0, WINDOW, 300) if len(prompt) > WINDOW else (0,):
            session = torch_eager.open_session(
                artifact_directory, Target(), Decoding(prefill_chunk=chunk), len(prompt) + 64
            )
            found = session.prefill(np.array([prompt]))
            # The target of the project: 1e-4 of the largest logit, 18 layers in float32.
            assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
            assert greedy(session, prompt, 64) == tokens
            if len(prompt) > WINDOW:
                assert session.facts["kv_cache"] == "sliding 512, static"
            session.close()
