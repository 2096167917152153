import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from assay.core.records import Artifact, Comparison, Estimate, Result
from assay.show.table import describe_artifact, render_table
from assay.show.view import view_of


def _words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_asked_and_no_number_is_cut(result: Result, width: int) -> None:
    text = str(render_table(result, width))
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in re.sub(r"\d … \d", "", text)
    for row in view_of(result).rows:
        for cell in row.cells:
            assert cell.text in text


def test_plain_text_has_no_escapes_and_marks_invalid_numbers(result: Result) -> None:
    text = str(render_table(result, 80))
    assert "\x1b" not in text
    assert "~~48.60~~[1]" in text
    assert "~~3390~~[1]" in text
    assert "~~71.30" not in text


def test_a_terminal_strikes_invalid_numbers_out(result: Result) -> None:
    text = render_table(result, 80).text(colour=True)
    assert re.search(r"\x1b\[[\d;]*9m48\.60", text)
    assert "~~48.60" not in text


def test_no_color_leaves_no_colour_but_the_strike(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with console.capture() as captured:
        console.print(render_table(result, 80))
    codes = {code for found in re.findall(r"\x1b\[([\d;]+)m", captured.get()) for code in found.split(";")}
    assert "9" in codes
    assert codes <= {"0", "1", "2", "3", "9"}


def test_what_stands_under_the_table(result: Result) -> None:
    text = _words(str(render_table(result, 80)))
    for said in (
        "The source is already quantised (Q4_1)",
        "Text: prose carried by Assay, 5,120 tokens of plain English.",
        "Not complete: the study was interrupted",
        "roofline: the machine's ceilings were not measured",
        "bf16 against itself, decode 128+64: ×0.998 (0.989 … 1.007), 12 rounds, equivalent",
        "lut4-oc8, prefill 512: ×0.994 (0.965 … 1.023), 12 rounds, inconclusive: the budget of time is spent.",
        "Smallest effect found with 80 % power: 3.1 %.",
        "cause: palettes of 16 entries lose too much of these weights",
        "remedy: Use 6 bits, or fewer output channels for each palette",
        "this machine has no energy counter",
        "int8 pass decode x1.458 (at least 1.05 was asked)",
        "int4-g32: unsupported: torch on cpu has no kernel for int4 groups of 32 (0 of 2 attempts succeeded)",
        "palettes are expanded to bf16 at load: smaller on disk, not in memory",
    ):
        assert said in text
    assert text.index("err lut4") < text.index("warn bf16") < text.index("info int8") < text.index("absent fp32")


def test_the_null_variant_has_no_row(result: Result) -> None:
    assert "bf16 (A/A)" not in str(render_table(result, 80))


def test_hostile_text_is_spelled_out(result: Result) -> None:
    text = render_table(result, 80).text(colour=True)
    assert "\\x1b[31m" in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "灯台守は扉を開けた。" in text


def test_rich_markup_in_a_name_stays_text(result: Result) -> None:
    row = result.rows[2].model_copy(update={"name": "[bold]x[/]"})
    text = str(render_table(result.model_copy(update={"rows": (row,)}), 80))
    assert "[bold]x[/]" in text


def test_a_terminal_that_knows_only_ascii(result: Result) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=80).print(render_table(result, 80))
    file.seek(0)
    text = file.read()
    assert "x1.458" in text
    assert max(map(len, text.splitlines())) <= 80


def test_long_names_are_folded_and_numbers_are_not(result: Result) -> None:
    name = "a-very-long-name-of-a-variant-that-nobody-would-type-twice"
    row = result.rows[2].model_copy(update={"name": name})
    text = str(render_table(result.model_copy(update={"rows": (row,)}), 80))
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "163.3" in text
    assert name in re.sub(r"\s", "", text)


def test_several_workloads_of_one_kind_have_a_column_each(result: Result) -> None:
    rows = tuple(
        row.model_copy(
            update={
                "metrics": {
                    "decode_tok_per_s@decode 128+64": 50.25,
                    "decode_tok_per_s@decode 4096+64": 31.75,
                }
            }
        )
        for row in result.rows[:3]
    )
    near, far = (_decode(result, "decode 128+64", 1.25), _decode(result, "decode 4096+64", 0.75))
    text = str(render_table(result.model_copy(update={"rows": rows, "comparisons": (near, far)}), 80))
    near_block, far_block = text.index("decode 128+64  "), text.index("decode 4096+64  ")
    assert near_block < text.index("×1.250") < far_block < text.index("×0.750")


def test_a_comparison_that_no_cell_shows_is_listed(result: Result) -> None:
    other = result.comparisons[3].model_copy(update={"baseline": "bf16/openvino"})
    text = _words(str(render_table(result.model_copy(update={"comparisons": (*result.comparisons, other)}), 80)))
    assert "int8 against bf16/openvino, decode, decode 128+64: ×1.458" in text


def test_a_study_without_findings_or_samples(result: Result) -> None:
    bare = {"findings": (), "quality": (), "comparisons": (), "null_estimates": (), "not_checked": (), "verdicts": ()}
    text = str(render_table(result.model_copy(update=bare), 80))
    assert "269.0" in text
    assert "~~" not in text


def test_describe_artifact(result: Result) -> None:
    artifact = result.rows[1].artifact
    assert isinstance(artifact, Artifact)
    text = describe_artifact(artifact, "out")
    assert "out: torch, 269 MB of weights, 16.00 bits per weight" in text
    assert "cast: 1 modules" in text
    assert "already quantised: Q4_1" in text


def _decode(result: Result, workload: str, ratio: float) -> Comparison:
    estimate = Estimate(value=ratio, low=ratio - 0.1, high=ratio + 0.1, method="m")
    return result.comparisons[3].model_copy(update={"workload": workload, "ratio": estimate})
