"""Chat templates: a conversation as the text that a model was trained on, by jinja2 in a sandbox.

Templates come from strangers. It refuses access to Python's internals, loops, products and output beyond a bound, and
whatever a template itself refuses; what it renders is what transformers' `apply_chat_template` renders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from assay.core.errors import TokenizerError

_MAX_STEPS = 100_000
"""Numbers that all calls of `range` may give, together."""
_MAX_CHARACTERS = 4 << 20
"""Of the output and of any product of a string."""

Message = Mapping[str, str]
"""`role` and `content`."""


def render(
    template: str, messages: Sequence[Message], special: Mapping[str, str], *, add_generation_prompt: bool = True
) -> str:
    """The text of a conversation.

    Args:
        template: in Jinja, from the tokenizer's files.
        messages: from the first to the last, each with `role` and `content`.
        special: the tokenizer's special tokens by role (`bos_token`, `eos_token`...): templates name them.
        add_generation_prompt: end with what begins the assistant's answer.

    Raises:
        TokenizerError: the template is wrong, refuses the conversation, or does what the sandbox refuses.
    """
    environment = _Sandbox()
    pieces: list[str] = []
    room = _MAX_CHARACTERS
    try:
        compiled = environment.from_string(template)
        conversation = [dict(message) for message in messages]
        for piece in compiled.generate(
            messages=conversation, add_generation_prompt=add_generation_prompt, tools=None, documents=None, **special
        ):
            room -= len(piece)
            if room < 0:
                raise _refused(f"it writes more than {_MAX_CHARACTERS} characters")
            pieces.append(piece)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise _refused(str(error)) from error
    except RecursionError as error:
        raise _refused("it calls itself without end") from error
    return "".join(pieces)


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}` marks what an assistant said; the text is its body."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Any) -> Any:
        """The body, as a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Names(Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        held = dict(*args[1:], **kwargs)
        for name in held:
            _check_name(name)
        Namespace.__init__(args[0], held)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class _Dict:
    """`dict(...)` for templates, without the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with the names that templates of the hub use, and with bounds."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self._steps = _MAX_STEPS
        self.filters["tojson"] = _tojson
        self.globals |= {
            "raise_exception": _raise,
            "strftime_now": lambda form: datetime.now().strftime(form),  # noqa: DTZ005 - the reader's day is meant
            "dict": _Dict(),
            "namespace": _Names,
            "range": self._range,
        }

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """A product or a power of bounded size."""
        if operator == "**" and (abs(left) > _MAX_STEPS or abs(right) > 64):
            raise jinja2.exceptions.SecurityError(f"{left!r} ** {right!r} is beyond the bound")
        for sequence, times in ((left, right), (right, left)):
            if operator == "*" and hasattr(sequence, "__len__") and len(sequence) * times > _MAX_CHARACTERS:
                raise jinja2.exceptions.SecurityError(f"a product of {len(sequence)} x {times} is beyond the bound")
        return super().call_binop(context, operator, left, right)

    def _range(self, *args: int) -> range:
        numbers = range(*args)
        self._steps -= min(len(numbers), _MAX_STEPS + 1) + 1
        if self._steps < 0:
            raise OverflowError(f"it counts beyond {_MAX_STEPS} steps")
        return numbers


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace may not hold {name!r}")


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _refused(found: str) -> TokenizerError:
    return TokenizerError(
        "A chat template was to be applied", found, "Give the prompt without the template (leave --chat out)"
    )
