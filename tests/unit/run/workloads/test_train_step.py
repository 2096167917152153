"""A training step equals one of transformers and torch, its phases are timed apart, and integers are refused."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
import transformers

from assay.build.families import family
from assay.core.errors import InputError, UnsupportedError
from assay.core.records import Workload
from assay.run.torch_trainer import LEARNING_RATE, TorchTrainer
from assay.run.workloads.train_step import PHASES, TrainStepDriver

CONFIG = {
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def test_a_step_equals_the_reference() -> None:
    torch.manual_seed(0)
    reference = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).double()
    kind = family("llama")
    ours = kind.Model(kind.Config.from_dict(CONFIG)).double()
    ours.load_state_dict(reference.state_dict())
    tokens_BT = torch.randint(0, 64, (2, 24))
    trainer = TorchTrainer(ours, tokens_BT)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=LEARNING_RATE)
    for _ in range(3):
        trainer.forward()
        trainer.backward()
        trainer.step()
        # Its loss is float64, ours float32: both of the same float64 logits, so they differ by rounding alone.
        loss = reference(tokens_BT, labels=tokens_BT).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert trainer.facts["training_loss_nats"] == pytest.approx(float(loss), rel=1e-6)
    theirs = dict(reference.named_parameters())
    for name, weight in ours.named_parameters():
        # Each step moves a weight by about the learning rate; gradients that differ by rounding move it alike.
        assert torch.allclose(weight, theirs[name], rtol=0, atol=1e-2 * LEARNING_RATE), name


def test_the_bytes_of_a_step_are_those_of_its_tensors() -> None:
    kind = family("llama")
    model = kind.Model(kind.Config.from_dict(CONFIG))
    weights = sum(weight.nbytes for weight in model.parameters())
    told = TorchTrainer(model, torch.randint(0, 64, (2, 24))).state_bytes()
    assert told["gradient_bytes"] == weights
    scalars = 4 * len(list(model.parameters()))  # AdamW keeps a step count for each tensor
    assert told["optimizer_state_bytes"] == 2 * weights + scalars
    logits = 2 * 24 * 64 * 4
    assert told["activation_bytes"] > logits


def test_integer_weights_have_no_gradient() -> None:
    model = torch.nn.Linear(4, 4)
    model.register_parameter("extra", torch.nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False))
    with pytest.raises(UnsupportedError, match="extra"):
        TorchTrainer(model, torch.zeros(1, 4, dtype=torch.int64))


class SleepingTrainer:
    """Phases of known length."""

    def forward(self) -> None:
        time.sleep(0.002)

    def backward(self) -> None:
        time.sleep(0.004)

    def step(self) -> None:
        time.sleep(0.001)


class SleepingSession:
    training_bytes: dict[str, int] = {}  # noqa: RUF012

    def trainer(self, tokens_BT: np.ndarray) -> SleepingTrainer:
        self.tokens_BT = tokens_BT
        return SleepingTrainer()

    def sync(self) -> None:
        """Nothing to wait for."""


class Untrainable:
    def sync(self) -> None:
        """Nothing to wait for."""


def test_phases_are_timed_apart_and_lie_within_the_step() -> None:
    session = SleepingSession()
    driver = TrainStepDriver(session, Workload(kind="train_step", prompt_tokens=8, batch=2), range(20))  # type: ignore[arg-type]
    assert session.tokens_BT.tolist() == [list(range(8))] * 2
    assert driver.first_call()[0] == "first_call_s"
    steps = driver.block(3)
    assert set(driver.phases) == set(PHASES)
    for index, (start, seconds) in enumerate(steps):
        parts = [driver.phases[name][index] for name in PHASES]
        assert parts[0][0] == start
        assert sum(part for _, part in parts) == pytest.approx(seconds, abs=1e-9)
        for (_, part), slept in zip(parts, (0.002, 0.004, 0.001), strict=True):
            assert part >= slept


def test_too_short_a_sequence_and_a_runtime_that_cannot_train_are_refused() -> None:
    with pytest.raises(InputError):
        TrainStepDriver(SleepingSession(), Workload(kind="train_step", prompt_tokens=1), range(9))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="cannot train"):
        TrainStepDriver(Untrainable(), Workload(kind="train_step", prompt_tokens=4), range(9))  # type: ignore[arg-type]
