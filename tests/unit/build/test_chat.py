"""Chat templates against transformers' own rendering, and templates that mean harm."""

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from assay import catalog
from assay.build.chat import render
from assay.core.errors import TokenizerError

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  What is 2 + 2?\n"},
    {"role": "assistant", "content": 'It is "4" <&> \u00fc.'},
    {"role": "user", "content": "And 3?"},
]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}

TEMPLATES = {
    "llama 2": "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() + "
    "' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    "blocks are trimmed": "{% for m in messages %}\n    {% if loop.first %}\n<first>\n    {% endif %}\n"
    "  {{ m.role }}\n{% endfor %}\n",
    "json": "{{ messages | tojson }} {{ {'b': 1, 'a': 'ü'} | tojson(indent=2, sort_keys=true) }}",
    "namespace": "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}",
    "loop controls": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "dates and dicts": "{{ strftime_now('%Y') }} {{ dict(a=1).a }} {% for i in range(3) %}{{ i }}{% endfor %}",
    "tools are none": "{% if tools is not none %}tools{% endif %}{% if documents %}documents{% endif %}none",
    "prompt": "{{ messages[-1].content }}{% if add_generation_prompt %}<assistant>{% endif %}",
    "undefined": "[{{ nobody }}]{{ messages[0].nothing }}",
    "macro": "{% macro say(m) %}<{{ m.role | upper }}>{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}",
}


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_rendering_is_that_of_transformers(template, prompt):
    expected, _ = render_jinja_template([TALK], chat_template=template, add_generation_prompt=prompt, **SPECIAL)
    assert render(template, TALK, SPECIAL, add_generation_prompt=prompt) == expected[0]


HOSTILE = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attribute filter": "{{ messages | attr('__class__') | attr('__base__') }}",
    "globals": "{{ raise_exception.__globals__['__builtins__'] }}",
    "methods of the namespace": "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "format": "{{ '{0.__class__.__init__}'.format(messages) }}",
    "changing the messages": "{{ messages.append(1) }}",
    "a refusal": "{{ raise_exception('roles must alternate') }}",
    "a syntax error": "{% if %}",
    "a wrong type": "{{ 1 + 'a' }}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_what_transformers_refuses_is_refused(template):
    refused = outcome = None
    try:
        outcome = render_jinja_template([TALK], chat_template=template, **SPECIAL)[0][0]
    except Exception as error:  # noqa: BLE001 - whatever they raise is a refusal
        refused = error
    if refused is None:  # the sandbox answered with something harmless: so must ours
        assert render(template, TALK, SPECIAL) == outcome
        return
    with pytest.raises(TokenizerError, match="chat template"):
        render(template, TALK, SPECIAL)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ range(10000000000) | list }}",
        "{{ 'a' * 10000000000 }}",
        "{{ [0] * 10000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set x = 'a' * 2000000 %}{{ x }}{{ x }}{{ x }}",
    ],
)
def test_templates_that_would_never_end_are_bounded(template):
    with pytest.raises(TokenizerError, match="chat template"):
        render(template, TALK, SPECIAL)


@pytest.mark.weights
def test_smollm2s_own_template_gives_the_ids_of_transformers(smollm2_path, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = catalog.open_checkpoint(str(smollm2_path)).tokenizer()
    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for system in ("", "Answer in rhymes."):
        talk = ([{"role": "system", "content": system}] if system else []) + [
            {"role": "user", "content": "Hello, sea!"}
        ]
        expected = theirs.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
        assert tokenizer.chat("Hello, sea!", system) == list(expected)
