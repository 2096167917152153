"""Read a config.json field by field, so that no key is dropped unseen; it refuses what is not implemented."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from assay.core.errors import CheckpointError

INERT_KEYS = frozenset(
    {
        "architectures",
        "assay",
        "attention_dropout",
        "attn_pdrop",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "embd_pdrop",
        "eos_token_id",
        "finetuning_task",
        "gradient_checkpointing",
        "id2label",
        "initializer_range",
        "is_decoder",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "resid_pdrop",
        "return_dict",
        "task_specific_params",
        "torch_dtype",
        "transformers_version",
        "unk_token_id",
        "use_cache",
    }
)
"""Keys that change no logit at inference."""

ALTERING_KEYS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "add_cross_attention": (False,),
        "adapters": ({}, []),
        "alibi": (False,),
        "attn_logit_softcapping": (),
        "block_sparse": (False,),
        "cross_attention_layers": ([],),
        "embedding_multiplier": (1, 1.0),
        "final_logit_softcapping": (),
        "is_encoder_decoder": (False,),
        "logit_scale": (1, 1.0),
        "logits_scaling": (1, 1.0),
        "mup_width_scale": (1, 1.0),
        "num_experts": (0, 1),
        "num_local_experts": (0, 1),
        "pruned_heads": ({},),
        "qk_layernorm": (False,),
        "quantization_config": (),
        "residual_multiplier": (1, 1.0),
        "rope_parameters": (),
        "rope_scaling": (),
        "sliding_window": (),
        "use_bidirectional_attention": (False,),
    }
)
"""Keys known to alter the computation of some family, and the values beside null with which they alter nothing.

A family that does not read such a key has not implemented it.
"""


class ConfigFields:
    """A cursor over the keys of one config.json; `finish` reports the keys that nobody read.

    Args:
        family: the `model_type`, for messages.
        config: the mapping of config.json.
        file: the name of the file, for messages.
    """

    def __init__(self, family: str, config: Mapping[str, Any], file: str = "config.json") -> None:
        self._family = family
        self._file = file
        self._config = config
        self._read: set[str] = set()

    def ignore(self, *keys: str) -> None:
        """Mark keys as known to be of no use to this family."""
        self._read.update(keys)

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive integer. Raises CheckpointError."""
        found = self._take(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise self._wrong(key, found, "a positive integer")
        return found

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number from 0 on. Raises CheckpointError."""
        found = self._take(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            raise self._wrong(key, found, "a whole number from 0 on")
        return found

    def integer_or_null(self, key: str, default: int | None = None) -> int | None:
        """A positive integer; None where the config says null, or says nothing and there is no default.

        Raises:
            CheckpointError: it is neither.
        """
        if self._config.get(key, default) is None:
            self._read.add(key)
            return None
        return self.integer(key, default)

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number. Raises CheckpointError."""
        found = self._take(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
            raise self._wrong(key, found, "a positive number")
        return float(found)

    def number_or_null(self, key: str, default: float | None = None) -> float | None:
        """A positive number; None where the config says null, or says nothing and there is no default.

        Raises:
            CheckpointError: it is neither.
        """
        if self._config.get(key, default) is None:
            self._read.add(key)
            return None
        return self.number(key, default)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false. Raises CheckpointError."""
        found = self._take(key, default)
        if not isinstance(found, bool):
            raise self._wrong(key, found, "true or false")
        return found

    def choice(self, key: str, allowed: Iterable[str], default: str | None = None) -> str:
        """One of `allowed`. Raises CheckpointError."""
        found = self._take(key, default)
        names = tuple(allowed)
        if found not in names:
            raise self._wrong(key, found, f"one of {', '.join(names)}")
        return str(found)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A table, empty where there is none. Raises CheckpointError."""
        self._read.add(key)
        found = self._config.get(key)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise self._wrong(key, found, "a table")
        return found

    def listed(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty where there is none. Raises CheckpointError."""
        self._read.add(key)
        found = self._config.get(key)
        if found is None:
            return ()
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise self._wrong(key, found, "a list of strings")
        return tuple(found)

    def each(self, key: str, count: int, default: float | Sequence[float]) -> tuple[float, ...]:
        """One number from 0 on for each of `count` layers, from a list, or from one number for all.

        Raises:
            CheckpointError: it is neither, or the list has another length.
        """
        found = self._take(key, default)
        numbers = found if isinstance(found, list | tuple) else [found] * count
        if len(numbers) != count or not all(
            isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < float("inf")
            for number in numbers
        ):
            raise self._wrong(key, found, f"a number from 0 on, or a list of {count} of them")
        return tuple(numbers)

    def only(self, key: str, implemented: Any, meaning: str) -> None:
        """Refuse values of `key` but `implemented` or null: they alter the computation. Raises CheckpointError."""
        self._read.add(key)
        found = self._config.get(key)
        if found is not None and found != implemented:
            raise CheckpointError(
                f"read a {self._family} {self._file}",
                f"{key} = {found!r} ({meaning}) changes the computation and is not implemented",
                f"Use a checkpoint with {key} = {implemented!r}",
            )

    def finish(self) -> None:
        """Warn of keys that are neither read nor known to be inert; refuse those known to alter the computation.

        Raises:
            CheckpointError: a key of `ALTERING_KEYS` that the family did not read has a value that alters it.
        """
        for key in sorted(ALTERING_KEYS.keys() & self._config.keys() - self._read):
            found, harmless = self._config[key], ALTERING_KEYS[key]
            if found is not None and found not in harmless:
                raise CheckpointError(
                    f"read a {self._family} {self._file}",
                    f"{key} = {found!r} changes the computation and is not implemented for {self._family}",
                    f"Use a checkpoint without {key}",
                )
        unknown = sorted(
            key
            for key in self._config
            if key not in self._read and key not in INERT_KEYS and key not in ALTERING_KEYS and not key.startswith("_")
        )
        if unknown:
            warnings.warn(
                f"{self._file} of this {self._family} model has keys that Assay does not know and does not use: "
                f"{', '.join(unknown)}",
                stacklevel=3,
            )

    def _take(self, key: str, default: Any) -> Any:
        self._read.add(key)
        found = self._config.get(key)
        if found is None:
            found = default
        if found is None:
            raise CheckpointError(
                f"read a {self._family} {self._file}", f"the key {key!r} is missing", f"Use a complete {self._file}"
            )
        return found

    def _wrong(self, key: str, found: Any, allowed: str) -> CheckpointError:
        return CheckpointError(
            f"read a {self._family} {self._file}",
            f"{key} = {found!r}",
            f"{key} must be {allowed}: correct {self._file}",
        )


def classification_labels(fields: ConfigFields) -> int:
    """Labels of an encoder's classification head; 0 where `architectures` names no such head.

    Raises:
        CheckpointError: `architectures` names a head for something else, or the labels are counted in two ways.
    """
    architectures = fields.listed("architectures")
    other = next((name for name in architectures if not name.endswith(_ENCODER_HEADS)), None)
    if other is not None:
        raise CheckpointError(
            "read the config.json of an encoder",
            f"architectures names {other!r}",
            f"Implemented are sentence embeddings and classification (names that end in {', '.join(_ENCODER_HEADS)})",
        )
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        return 0
    named = len(fields.mapping("id2label"))
    return fields.integer("num_labels", named or 2)


_ENCODER_HEADS = ("Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification")
