import importlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core import cost
from assay.core.decisions import Decision, ExperimentRun
from assay.core.errors import MissingDependencyError
from assay.core.records import Absent, Artifact, Ceilings, Estimate, Result, Round
from assay.show.experiments import expectation_words
from assay.show.html.elements import Markup, element, join, json_block
from assay.show.html.roofline import Roofline, roofline_of
from assay.show.view import view_of

pytest.importorskip("altair", reason="the extra `html` is not installed")
pytest.importorskip("vl_convert", reason="the extra `html` is not installed")

from assay.show.html import drawing
from assay.show.html.charts import charts_of
from assay.show.html.drawing import Chart, MissingChart
from assay.show.html.experiment import Story
from assay.show.html.report import render_html

VOID = {"meta", "input", "br", "link"}


class Page(HTMLParser):
    """The page's elements, its text outside of scripts, and every address that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def html(result: Result, rounds: tuple[Round, ...], ceilings: Ceilings) -> str:
    return render_html(result, rounds, ceilings)


def test_elements_are_balanced_and_ids_are_unique(html: str) -> None:
    page = Page(html)
    assert page.open == []
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))


def test_every_link_leads_somewhere_in_the_file_and_nowhere_else(html: str) -> None:
    page = Page(html)
    links = page.attributes("href")
    assert links
    assert {link[0] for link in links} == {"#"}
    assert {link[1:] for link in links} <= set(page.attributes("id"))
    assert page.attributes("src") == []


def test_the_page_has_every_number_every_note_and_every_reason(html: str, result: Result) -> None:
    text = " ".join("".join(Page(html).words).split())
    view = view_of(result)
    for row in view.rows:
        for cell in (*row.cells, *row.further):
            assert cell.text in text
            assert cell.interval in text
        for reason in row.verdict.reasons if row.verdict else ():
            assert reason in text
    for note in view.notes:
        for said in (note.where, note.text, note.cause, note.remedy):
            assert said in text
    for said in (
        "already quantised (Q4_1)",
        "Not complete",
        "bf16 against itself",
        "Smallest effect found with 80 % power: 3.1 %",
        "– (no limit is set)",
        "Invalid, and no part of the line: lut4-oc8.",
        "Not drawn: lut4-oc8, decode 128+64: its speed is invalid.",
    ):
        assert said in text


def test_an_experiment_stands_first_with_what_was_expected_and_decided(result: Result) -> None:
    golden = Path(__file__).parents[2] / "golden"
    run = ExperimentRun.from_json((golden / "experimentrun-v1.json").read_text())
    decision = Decision.from_json((golden / "decision-v1.json").read_text())
    text = "".join(Page(render_html(result, story=Story(run, (decision,)))).words)
    assert text.index("Expected beside measured") < text.index("Verdicts", text.index("Expected beside measured"))
    assert run.experiment.hypothesis in text
    for expected in run.experiment.expect:
        assert expectation_words(expected) in text
    assert decision.reason in text
    assert decision.status.replace("_", " ") in text
    assert "Nothing was decided yet." in "".join(Page(render_html(result, story=Story(run))).words)


def test_generated_text_is_text(html: str) -> None:
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert "img" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert '<script>window.hacked = true</script><img src=x onerror="window.hacked=true">' in "".join(page.words)
    assert "\\x1b[31m" in "".join(page.words)


def test_hostile_names_are_text(result: Result, rounds: tuple[Round, ...]) -> None:
    evil = "</script><script>window.hacked=1</script>\"'><img src=x onerror=alert(1)>"
    row = result.rows[2].model_copy(update={"name": evil})
    run = rounds[0].runs[0].model_copy(update={"variant": evil})
    hostile = result.model_copy(update={"rows": (*result.rows, row), "name": evil, "text": evil})
    page = Page(render_html(hostile, (rounds[0].model_copy(update={"runs": (run,)}),)))
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert "img" not in {tag for tag, _ in page.tags}


def test_the_reference_stands_at_no_divergence(result: Result) -> None:
    charts = [chart for chart in charts_of(view_of(result), (), None) if chart.title.startswith("Speed against")]
    for chart in charts:
        assert isinstance(chart, Chart)
        points = [point for layer in chart.spec["layer"] for point in layer["data"]["values"]]
        assert {point["kl"] for point in points if point.get("variant") == "fp32"} == {0.0}


def test_every_chart_has_words_and_a_table(result: Result, rounds: tuple[Round, ...], ceilings: Ceilings) -> None:
    charts = charts_of(view_of(result), rounds, ceilings)
    assert [chart.title.partition(":")[0] for chart in charts] == [
        "Speed against quality", "Speed against quality", "Memory", "Every sample", "Over the rounds", "Every sample",
        "Over the rounds", "Roofline",
    ]  # fmt: skip
    for chart in charts:
        assert isinstance(chart, Chart)
        assert chart.summary
        assert {len(line) for line in chart.table} == {len(chart.headers)}
        json.dumps(chart.spec, allow_nan=False)


def test_no_sample_is_left_out_and_warm_up_is_told_apart(result: Result, rounds: tuple[Round, ...]) -> None:
    charts = [
        chart
        for chart in charts_of(view_of(result), rounds, None)
        if isinstance(chart, Chart) and chart.name == "samples-decode 128+64-tpot_s"
    ]
    columns = charts[0].spec["usermeta"]["columns"]
    recorded = [
        (value, place < samples.warmup)
        for measured in rounds
        for run in measured.runs
        for samples in run.samples
        if samples.metric == "tpot_s"
        for place, value in enumerate(samples.values)
    ]
    assert [bool(warm) for warm in columns["w"]] == [warm for _, warm in recorded]
    assert columns["t"] == pytest.approx([1000 * value for value, _ in recorded], rel=1e-5)


def test_charts_that_cannot_be_drawn_say_why(result: Result) -> None:
    bare = tuple(row.model_copy(update={"metrics": {}}) for row in result.rows[:2])
    charts = charts_of(view_of(result.model_copy(update={"rows": bare})), (), None)
    assert all(isinstance(chart, MissingChart) and chart.reason for chart in charts)
    assert "assay doctor --measure" in charts[-1].reason  # type: ignore[union-attr]
    html = render_html(result.model_copy(update={"rows": bare}), ())
    assert "this report was made without the rounds of the study" in html


def test_points_of_the_roofline_against_the_formulas(
    result: Result, rounds: tuple[Round, ...], ceilings: Ceilings
) -> None:
    roofline = roofline_of(view_of(result), rounds, ceilings)
    assert isinstance(roofline, Roofline)
    assert [roof.dtype for roof in roofline.roofs] == ["float32", "bfloat16"]
    assert roofline.bandwidths[0].bytes_per_s == 2.1e10
    points = {(point.row, point.workload): point for point in roofline.points}
    artifact = result.rows[2].artifact
    assert isinstance(artifact, Artifact)
    decode = points[("int8", "decode 128+64")]
    contract = artifact.contract
    # By hand: 2 (L (2 d H dh + 2 d Hkv dh + 3 d dff) + d V) + 4 L c H dh at c = 128 + 32.
    per_layer = 576 * (2 * 9 * 64 + 2 * 3 * 64 + 3 * 1536)
    flops = 2 * (30 * per_layer + 576 * 49152) + 4 * 30 * 160 * 576
    moved = artifact.decode_weight_bytes + 160 * 2 * 30 * 3 * 64 * 2
    assert math.isclose(decode.flops_per_byte, flops / moved)
    assert math.isclose(decode.flops_per_s, flops * 71.3)
    assert math.isclose(decode.share, 71.3 * moved / 2.1e10)
    assert decode.bound == "bandwidth"
    prefill = points[("fp32", "prefill 512")]
    assert math.isclose(prefill.flops_per_s, cost.prefill_flops(contract, 1, 512) * 1180 / 512)
    assert prefill.bound == "compute"
    assert not [key for key in points if key[0] == "lut4-oc8"]


def test_a_roofline_without_ceilings_says_what_to_do(result: Result, rounds: tuple[Round, ...]) -> None:
    absent = roofline_of(view_of(result), rounds, None)
    assert isinstance(absent, Absent)
    assert "assay doctor --measure" in absent.reason


def test_a_contended_probe_is_said(result: Result, rounds: tuple[Round, ...], ceilings: Ceilings) -> None:
    contended = ceilings.model_copy(update={"contention": ("something else ran",)})
    html = render_html(result, rounds, contended)
    assert "The ceilings are not to be trusted: something else ran." in html


@pytest.mark.parametrize(("missing", "package"), [("altair", "altair"), ("vl_convert", "vl-convert-python")])
def test_a_missing_extra_is_named(result: Result, monkeypatch: pytest.MonkeyPatch, missing: str, package: str) -> None:
    real = importlib.import_module

    def without(name: str, anchor: str | None = None) -> object:
        if name == missing:
            raise ModuleNotFoundError(name)
        return real(name, anchor)

    drawing.script.cache_clear()
    monkeypatch.setattr(drawing.importlib, "import_module", without)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*pip install 'assay\[html\]'"):
        render_html(result)
    drawing.script.cache_clear()


def test_a_study_with_one_row_and_nothing_else(result: Result) -> None:
    row = result.rows[1].model_copy(
        update={"metrics": {"decode_tok_per_s": Estimate(value=1, low=1, high=1, method="m")}}
    )
    bare = {"rows": (row,), "findings": (), "quality": (), "comparisons": (), "null_estimates": (), "verdicts": ()}
    page = Page(render_html(result.model_copy(update=bare)))
    assert page.open == []


# ------------------------------------------------------------------------------------------------- elements


@given(st.text(), st.text())
def test_no_text_breaks_out_of_an_element(text: str, title: str) -> None:
    page = Page(element("p", text, title=title))
    assert [tag for tag, _ in page.tags] == ["p"]
    assert list(page.tags[0][1]) == ["title"]
    assert page.open == []


@given(st.recursive(st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=8))
@settings(max_examples=60)
def test_a_json_block_cannot_be_ended_from_inside(content: object) -> None:
    block = json_block("data", content)
    assert len(re.findall(r"</?script", block)) == 2
    assert "<!--" not in block
    inside = block.partition(">")[2].rpartition("</script>")[0]
    assert json.loads(inside) == content


def test_markup_is_kept_and_text_is_escaped() -> None:
    assert element("p", Markup("<b>x</b>"), "<b>") == "<p><b>x</b>&lt;b&gt;</p>"
    assert join(["a", ["b", element("br")]]) == "ab<br>"
    assert element("a", "x", class_="c", aria_label='"', hidden=True, id=None, title=False) == (
        '<a class="c" aria-label="&quot;" hidden>x</a>'
    )
