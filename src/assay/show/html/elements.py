"""HTML elements that escape what they are given. They refuse plain strings as markup: only an element is markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from assay.show import format as shown

_VOID = frozenset({"meta", "input", "br", "link"})


class Markup(str):
    """Text that is HTML already. Made by `element` and by the files that this package carries, never from a record."""

    __slots__ = ()


Child = str | Iterable[str]
"""Text, markup, or several of them. Text that is no `Markup` is escaped."""


def element(tag: str, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """An element; text among the children is escaped.

    Attributes: `class_` and `for_` lose their underscore, other underscores become hyphens; None and False are left
    out, and True is an attribute without a value.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Markup:
    """Children after one another."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(html.escape(shown.visible(child), quote=True))
        else:
            parts.append(join(child))
    return Markup("".join(parts))


def json_block(name: str, content: Any) -> Markup:
    """Data for the page's script. No text in it can end the block or begin a comment."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def _attribute(name: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{html.escape(shown.visible(str(value)), quote=True)}"'
