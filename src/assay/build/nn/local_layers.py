"""Which layers of a model are local, how they count positions, and which read the keys of others.

It refuses what does not fit the layers.
"""

from __future__ import annotations

from assay.build.config_fields import ConfigFields
from assay.build.nn.rope import RopeScaling
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


def kv_owners(fields: ConfigFields, windows: tuple[int | None, ...], shared: int) -> tuple[int, ...]:
    """For each layer the one whose keys and values it sees: for the last ones, the last before them of the same kind.

    Args:
        fields: the config: `num_kv_shared_layers`.
        windows: of each layer, None where it sees the whole context.
        shared: how many of the last layers have none of their own, where the config does not say.

    Raises:
        CheckpointError: a layer has nobody to read from.
    """
    first = len(windows) - fields.count("num_kv_shared_layers", shared)
    owners = list(range(len(windows)))
    for layer in range(max(first, 0), len(windows)):
        before = [owner for owner in range(first) if windows[owner] == windows[layer]]
        if not before:
            raise CheckpointError(
                "read num_kv_shared_layers of config.json",
                f"layer {layer} is to read keys of an earlier layer of its kind, and there is none before {first}",
                "Use the config.json that was saved with these weights",
            )
        owners[layer] = before[-1]
    return tuple(owners)


def layer_rope(
    fields: ConfigFields, kind: str, theta_key: str, theta: float, positions: int
) -> tuple[float, RopeScaling]:
    """Theta and scaling of one kind of layers: from its table in transformers 5, from keys of its own in 4.

    Args:
        fields: the config.
        kind: `full_attention` or `sliding_attention`.
        theta_key: what transformers 4 called theta.
        theta: where the config says nothing.
        positions: `max_position_embeddings`.

    Raises:
        CheckpointError: what `RopeScaling.from_dict` refuses, or theta is no positive number.
    """
    table = dict(fields.mapping("rope_parameters").get(kind) or {})
    if kind == _FULL:
        table |= fields.mapping("rope_scaling")
    beside = fields.number(theta_key, theta)
    return ConfigFields("gemma", table).number("rope_theta", beside), RopeScaling.from_dict(table, positions)
