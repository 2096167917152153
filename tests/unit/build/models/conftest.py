"""Small random models of transformers, saved as it saves them, and the same models as Assay builds them."""

import pytest
import torch

from assay.build.checkpoints import hf_directory
from assay.build.families import build_model


@pytest.fixture
def both(tmp_path):
    """From a config of transformers: its model, and ours built from what it saved."""

    def make(config, spread=0.3):
        from transformers import AutoModelForCausalLM

        torch.manual_seed(0)
        theirs = AutoModelForCausalLM.from_config(config).eval()
        for parameter in theirs.parameters():
            # Wider than an initialisation, biases and norms too: an error anywhere must be seen in the logits.
            parameter.data += torch.randn_like(parameter) * spread
        for name, buffer in theirs.named_buffers():
            if name in theirs.state_dict():
                buffer += torch.randn_like(buffer) * spread
        theirs.save_pretrained(tmp_path / "saved")
        checkpoint = hf_directory.open_checkpoint(tmp_path / "saved")
        return theirs, build_model(checkpoint)

    return make
