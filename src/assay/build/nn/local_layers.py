"""Which layers of a model are local, and how far they see; it refuses a list that does not name each layer."""

from __future__ import annotations

from assay.build.config_fields import ConfigFields
from assay.core.errors import CheckpointError

_FULL, _SLIDING = "full_attention", "sliding_attention"


def local_windows(fields: ConfigFields, layers: int, width: int, period: int) -> tuple[int | None, ...]:
    """By layer the keys that a query sees, itself included, or None for the whole context, as Gemma's configs say it.

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
    return _by_type(types, layers, window)


def chosen_windows(fields: ConfigFields, layers: int) -> tuple[int | None, ...]:
    """The same as Qwen's configs say it: with windows only where they are turned on.

    `use_sliding_window` does that; without `layer_types` the layers from `max_window_layers` on have one.

    Raises:
        CheckpointError: `layer_types` does not have one known type for each layer, or names windows that are off.
    """
    width = fields.integer_or_null("sliding_window", 4096)
    window = width if fields.flag("use_sliding_window", False) else None
    first = fields.count("max_window_layers", 28)
    types = fields.listed("layer_types") or tuple(
        _SLIDING if window is not None and layer >= first else _FULL for layer in range(layers)
    )
    return _by_type(types, layers, window)


def _by_type(types: tuple[str, ...], layers: int, window: int | None) -> tuple[int | None, ...]:
    if len(types) != layers or not set(types) <= {_FULL, _SLIDING} or (window is None and _SLIDING in types):
        raise CheckpointError(
            "read layer_types of config.json",
            f"{len(types)} of {', '.join(sorted(set(types)))} for {layers} layers, with a window of {window}",
            f"Each layer must be {_FULL} or {_SLIDING}, the latter with a window that is on",
        )
    return tuple(window if kind == _SLIDING else None for kind in types)
