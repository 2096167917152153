import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from assay.core.records import Result
from assay.show.markdown import escape, fenced, render_markdown
from assay.show.view import view_of


def _html(markdown: str) -> str:
    # CommonMark with raw HTML allowed, as a forge renders it, so that live markup would show.
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


def test_it_has_the_facts_of_the_table(result: Result) -> None:
    markdown = render_markdown(result)
    plain = markdown.replace("\\", "")
    view = view_of(result)
    for row in view.rows:
        for cell in (*row.cells, *row.further):
            assert cell.text in plain
            assert cell.interval in plain
        if row.verdict:
            for reason in row.verdict.reasons:
                assert reason in plain
    for note in view.notes:
        for said in (note.where, note.text, note.cause, note.remedy):
            assert said in plain
    assert "~~48.60 (47.6 … 49.6)~~" in markdown
    assert "bf16 against itself" in plain


def test_tables_have_as_many_cells_in_every_row(result: Result) -> None:
    lines = render_markdown(result).splitlines()
    counts: list[int] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            counts.append(len(re.findall(r"(?<!\\)\|", line)))
        elif counts:
            assert len(set(counts)) == 1
            counts = []


def test_every_mark_leads_to_its_note(result: Result) -> None:
    html = _html(render_markdown(result))
    marks = set(re.findall(r'href="#(note-\d+)"', html))
    assert marks
    assert marks <= set(re.findall(r'<a id="(note-\d+)">', html))


def test_generated_text_and_names_do_not_become_markup(result: Result) -> None:
    evil = "<img src=x onerror=alert(1)> | [a](javascript:alert(1)) `b` *c* ~~d~~"
    row = result.rows[3].model_copy(update={"name": evil})
    html = _html(render_markdown(result.model_copy(update={"rows": (row,), "name": evil})))
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert "&lt;script&gt;window.hacked" in html


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_escaped_text_reads_as_itself(text: str) -> None:
    html = _html(f"x {escape(text)} x")
    assert re.sub(r"</?p>\n?", "", html).count("<") == 0


@pytest.mark.parametrize("text", ["```", "a ````` b", "", "~~~", "line\n```\nline"])
def test_a_fence_is_longer_than_the_text_s_own(text: str) -> None:
    html = _html(fenced(text))
    assert html.count("<code") == 1
    assert "</code></pre>" in html.rstrip()[-13:]
