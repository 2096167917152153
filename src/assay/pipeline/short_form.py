"""Variants in their short form, as they are typed: `bf16`, `int4-g32`, `lut4-oc8`, `cast(dtype=fp16)+palettize`.

It refuses kinds that the catalog does not have.
"""

from __future__ import annotations

import contextlib
import json
import re

from assay import catalog
from assay.core.records import TransformSpec
from assay.core.study import StudyVariant


def variant_of(short: str, name: str | None = None) -> StudyVariant:
    """A variant from its short form: transforms joined by `+`, options in parentheses.

    `fp32` is the model as it is; `bf16` and `fp16` cast; `int8` is bf16 with int8 weights;
    `int4` (or `int4-g64`) is bf16 with int4 weights and a scale per 32 (or 64) inputs; `lut4-oc8` a palette of 2^4
    entries per 8 output channels; anything else is the kind of a transform, as in `cast(dtype=bf16)+int8_weight_only`.

    Raises:
        InputError: a kind that the catalog does not have.
    """
    return StudyVariant(name=name or _file_name(short), transforms=transforms_of(short))


def transforms_of(short: str) -> tuple[TransformSpec, ...]:
    """The transforms of a short form (see `variant_of`)."""
    return tuple(spec for part in short.split("+") for spec in _transforms_of_part(part.strip()))


def _transforms_of_part(part: str) -> tuple[TransformSpec, ...]:
    if part in {"fp32", ""}:
        return ()
    if part in {"bf16", "fp16"}:
        return (TransformSpec(kind="cast", options={"dtype": part}),)
    if part == "int8":
        return (
            TransformSpec(kind="cast", options={"dtype": "bf16"}),
            TransformSpec(kind="int8_weight_only", options={}),
        )
    if int4 := re.fullmatch(r"int4(?:-g(\d+))?", part):
        group = {"group_size": int(int4[1] or 32)}
        return TransformSpec(kind="cast", options={"dtype": "bf16"}), TransformSpec(
            kind="int4_weight_only", options=group
        )
    if palette := re.fullmatch(r"lut([1-8])-oc(\d+)", part):
        shape = {"bits": int(palette[1]), "output_channels": int(palette[2])}
        return TransformSpec(kind="cast", options={"dtype": "bf16"}), TransformSpec(kind="palettize", options=shape)
    written = re.fullmatch(r"(\w+)(?:\((.*)\))?", part)
    kind = written[1] if written else part
    catalog.lookup(catalog.TRANSFORMS, kind, "transform")
    options = dict(_option(item) for item in (written[2] or "").split(",") if item.strip()) if written else {}
    return (TransformSpec(kind=kind, options=options),)


def _option(written: str) -> tuple[str, str | int | float | bool]:
    key, _, value = (piece.strip() for piece in written.partition("="))
    with contextlib.suppress(ValueError):
        parsed = json.loads(value)
        if isinstance(parsed, (bool, int, float)):
            return key, parsed
    return key, value


def _file_name(short: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", short).strip("-") or "variant"
