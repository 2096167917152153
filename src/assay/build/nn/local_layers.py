"""Which layers of a Gemma are local, and how far they see; it refuses a list that does not name each layer."""

from __future__ import annotations

from assay.build.config_fields import ConfigFields
from assay.core.errors import CheckpointError

_FULL, _SLIDING = "full_attention", "sliding_attention"


def local_windows(fields: ConfigFields, layers: int, width: int, period: int) -> tuple[int | None, ...]:
    """By layer the keys that a query sees, itself included, or None for the whole context.

    Args:
        fields: the config: `sliding_window` and `layer_types`.
        layers: `num_hidden_layers`.
        width: the window where the config does not say.
        period: without `layer_types` every so many layers one sees the whole context.

    Raises:
        CheckpointError: `layer_types` does not have one known type for each layer.
    """
    window = fields.integer("sliding_window", width)
    types = fields.listed("layer_types") or tuple(
        _SLIDING if (layer + 1) % period else _FULL for layer in range(layers)
    )
    if len(types) != layers or not set(types) <= {_FULL, _SLIDING}:
        raise CheckpointError(
            "read layer_types of config.json",
            f"{len(types)} of {', '.join(sorted(set(types)))} for {layers} layers",
            f"Each layer must be {_FULL} or {_SLIDING}",
        )
    return tuple(window if kind == _SLIDING else None for kind in types)
