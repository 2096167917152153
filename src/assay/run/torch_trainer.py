"""Training steps of a torch model: forward, backward, optimizer. It refuses weights that no gradient reaches.

The optimizer is AdamW, as most fine-tuning uses it. The model's weights change with every step. Shape suffixes: B
batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.core.errors import UnsupportedError
from assay.core.records import Scalar

LEARNING_RATE = 1e-5
"""Small enough that no type overflows when the same batch is learned over and over."""


class TorchTrainer:
    """A model in training: one call each of `forward`, `backward` and `step` is a training step.

    Args:
        model: all of whose weights are floating-point.
        tokens_BT: the batch; each token but the first is a target.

    Raises:
        UnsupportedError: some weights are integers, so that they have no gradient.
    """

    def __init__(self, model: nn.Module, tokens_BT: Tensor) -> None:
        integers = [name for name, weight in model.named_parameters() if not weight.is_floating_point()]
        if integers:
            raise UnsupportedError(
                "take a training step",
                f"{integers[0]} and {len(integers) - 1} more weights are integers, and no gradient reaches them",
                "Train the variant before it is quantised",
            )
        self._model: Any = model.requires_grad_(True)
        self._tokens_BT = tokens_BT
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
        self._loss = torch.zeros(())

    def forward(self) -> None:
        """Mean cross entropy of the targets, in float32, with all that the backward pass needs."""
        logits_BTV: Tensor = self._model(self._tokens_BT)
        targets_BT = self._tokens_BT[:, 1:]
        self._loss = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1).float(), targets_BT.flatten())

    def backward(self) -> None:
        """Gradients of all weights."""
        self._loss.backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """One step of AdamW, and the gradients are freed."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    @property
    def facts(self) -> dict[str, Scalar]:
        """What trained, and the loss of the last forward in nats per token."""
        loss = float(self._loss.detach())
        told = loss if math.isfinite(loss) else "not finite"
        return {"optimizer": "AdamW", "learning_rate": LEARNING_RATE, "training_loss_nats": told}

    def state_bytes(self) -> dict[str, int]:
        """Bytes of gradients, of the optimizer's state, and of the activations that a forward keeps for the backward.

        A step is taken to find them. Activations are counted once each, whatever shares their storage, and without
        the weights, which the backward pass reads too.
        """
        weights = {parameter.untyped_storage().data_ptr() for parameter in self._model.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self.forward()
        self.backward()
        gradients = sum(p.grad.nbytes for p in self._model.parameters() if p.grad is not None)
        self.step()
        state = sum(
            value.nbytes
            for entry in self._optimizer.state.values()
            for value in entry.values()
            if isinstance(value, Tensor)
        )
        return {"gradient_bytes": gradients, "optimizer_state_bytes": state, "activation_bytes": sum(kept.values())}
