"""The report in a real browser: nothing overflows, nothing fails, everything can be reached by keyboard."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.core.records import Ceilings, Result, Round

selenium = pytest.importorskip("selenium", reason="the package selenium is not installed")
pytest.importorskip("altair", reason="the extra `html` is not installed")
pytest.importorskip("vl_convert", reason="the extra `html` is not installed")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402

from assay.show.html.report import render_html  # noqa: E402

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WAIT_S = 60.0
WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")

Open = Callable[..., WebDriver]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    chromedriver = shutil.which("chromedriver")
    if browser is None or chromedriver is None:
        pytest.skip("there is no Chromium with its driver on this machine")
    options = Options()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory, result: Result, rounds: tuple[Round, ...], ceilings: Ceilings
) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(result, rounds, ceilings), encoding="utf-8")
    return path


@pytest.fixture
def opened(driver: WebDriver, page: Path) -> Open:
    def open_at(width: int = 1440, scheme: str = "light", path: Path = page) -> WebDriver:
        _emulate(driver, width, scheme)
        driver.get_log("browser")
        driver.get(path.as_uri())
        _wait_for_charts(driver)
        return driver

    return open_at


def _emulate(driver: WebDriver, width: int, scheme: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    # Smooth scrolling would move what the driver is about to press.
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _until(condition: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.05)
    return found


def _wait_for_charts(driver: WebDriver) -> None:
    _until(lambda: driver.execute_script("return document.documentElement.dataset.charts === 'drawn'"))


def _names(driver: WebDriver) -> list[str]:
    script = """return [...document.querySelectorAll("#numbers-table tbody tr")]
        .filter((row) => !row.hidden).map((row) => row.querySelector(".name").textContent)"""
    found: list[str] = driver.execute_script(script)
    return found


def _header(driver: WebDriver, title: str) -> Any:
    return driver.find_element(By.XPATH, f'//table[@id="numbers-table"]//th[.//span[@class="name"][text()="{title}"]]')


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_console_message_no_request_no_live_text(opened: Open, width: int, scheme: str) -> None:
    driver = opened(width, scheme)
    assert driver.get_log("browser") == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert driver.execute_script("return window.hacked === undefined")
    drawn = "return [...document.querySelectorAll('[data-chart]')].every((box) => box.querySelector('svg, canvas'))"
    assert driver.execute_script(drawn)
    assert driver.execute_script("return document.querySelectorAll('[data-chart]').length") == 8


def test_small_studies_draw_without_a_warning(
    opened: Open, tmp_path: Path, result: Result, rounds: tuple[Round, ...], ceilings: Ceilings
) -> None:
    memory_alone = ceilings.model_copy(update={"cache_bytes_per_s": {}})
    for names in (("bf16", "int8"), ("lut4-oc8",), ("fp32",), ("int4-g32",)):
        rows = tuple(row for row in result.rows if row.name in names)
        small = result.model_copy(update={"rows": rows})
        path = tmp_path / f"{names[0]}.html"
        path.write_text(render_html(small, rounds[:1], memory_alone), encoding="utf-8")
        assert opened(1440, "light", path).get_log("browser") == [], names


OVERFLOWING = """
const width = document.documentElement.clientWidth;
const clips = (e) => getComputedStyle(e).overflowX !== "visible";
const scrolls = (e) => e && e !== document.body && (clips(e) || scrolls(e.parentElement));
return [...document.querySelectorAll("body *")]
  .filter((e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement))
  .map((e) => `${e.tagName}.${e.getAttribute("class")}`);
"""
CLIPPED = """
return [...document.querySelectorAll("svg text")].filter((text) => {
  const inner = text.getBoundingClientRect(), outer = text.ownerSVGElement.getBoundingClientRect();
  return text.textContent.trim() && inner.width && (inner.right > outer.right + 1 || inner.left < outer.left - 1);
}).map((text) => text.textContent);
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_and_no_label_is_cut(opened: Open, width: int) -> None:
    driver = opened(width)
    sizes = driver.execute_script("const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
    assert sizes[0] <= sizes[1] <= width
    assert driver.execute_script(OVERFLOWING) == []
    assert driver.execute_script(CLIPPED) == []


def test_charts_follow_the_width_of_the_window(opened: Open) -> None:
    driver = opened(1440)
    width_of = "return document.querySelector('[data-chart] svg').getBoundingClientRect().width"
    before = driver.execute_script(width_of)
    _emulate(driver, 390, "light")
    _until(lambda: driver.execute_script(width_of) < before)
    _until(lambda: driver.execute_script("const e = document.documentElement; return e.scrollWidth <= e.clientWidth"))
    _until(lambda: driver.execute_script(OVERFLOWING) == [])


def test_charts_follow_the_colour_scheme(opened: Open) -> None:
    driver = opened(1440, "light")
    ink = "return document.querySelector('[data-chart] svg .role-legend-label text').getAttribute('fill')"
    light = driver.execute_script(ink)
    _emulate(driver, 1440, "dark")
    _until(lambda: driver.execute_script(ink) != light)
    assert driver.get_log("browser") == []


CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length && (colour.length < 4 || colour[3] === 1)) return colour;
  }
  return [255, 255, 255];
};
const weak = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || e.closest("script, svg, .unseen, [hidden]")) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) weak.push(`${walker.currentNode.textContent.trim()}: ${ratio.toFixed(2)}`);
}
return weak;
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_stands_out_from_what_is_behind_it(opened: Open, scheme: str) -> None:
    # 4.5 to 1 is what WCAG 2 asks of text at level AA.
    assert opened(1440, scheme).execute_script(CONTRAST) == []


# --------------------------------------------------------------------------------------------- sorting and filtering


def test_sorting_by_click_puts_the_best_first_and_what_is_missing_last(opened: Open) -> None:
    driver = opened()
    header = _header(driver, "decode")
    button = header.find_element(By.TAG_NAME, "button")
    button.click()
    assert header.get_attribute("aria-sort") == "descending"
    assert _names(driver) == ["int8", "bf16", "lut4-oc8", "fp32", "int4-g32"]
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert _names(driver) == ["fp32", "lut4-oc8", "bf16", "int8", "int4-g32"]
    other = _header(driver, "weights")
    other.find_element(By.TAG_NAME, "button").click()
    assert (header.get_attribute("aria-sort"), other.get_attribute("aria-sort")) == ("none", "ascending")
    assert _names(driver)[0] == "lut4-oc8"
    assert driver.find_element(By.ID, "sort-status").get_attribute("textContent") == "Sorted by weights, ascending"


def test_sorting_by_keyboard(opened: Open) -> None:
    driver = opened()
    driver.execute_script("document.getElementById('filter-status').focus()")
    # From the filter: the table's own scrolling region, then the first heading, then the second.
    active = driver.switch_to.active_element
    for _ in range(4):
        active.send_keys(Keys.TAB)
        active = driver.switch_to.active_element
        if active.tag_name == "button":
            break
    assert active.text.startswith("variant")
    active.send_keys(Keys.ENTER)
    assert _names(driver) == ["bf16", "fp32", "int4-g32", "int8", "lut4-oc8"]
    active.send_keys(Keys.TAB)
    active = driver.switch_to.active_element
    assert active.text.startswith("weights")
    active.send_keys(Keys.SPACE)
    assert _names(driver) == ["lut4-oc8", "int8", "bf16", "fp32", "int4-g32"]


def test_filtering_by_word_and_by_verdict(opened: Open) -> None:
    driver = opened()
    text = driver.find_element(By.ID, "filter-text")
    count = driver.find_element(By.ID, "filter-count")
    text.send_keys("INT")
    assert _names(driver) == ["int8", "int4-g32"]
    assert count.text == "2 of 5 variants"
    text.send_keys(Keys.ENTER)
    assert _names(driver) == ["int8", "int4-g32"]
    text.clear()
    text.send_keys("better")
    assert _names(driver) == ["int8"]
    text.send_keys(Keys.CONTROL, "a")
    text.send_keys(Keys.DELETE)
    driver.find_element(By.CSS_SELECTOR, "#filter-status option[value='fail']").click()
    assert _names(driver) == ["lut4-oc8"]
    assert driver.get_log("browser") == []


# ------------------------------------------------------------------------------------------------- reachable for all


def test_the_first_stop_is_the_skip_link(opened: Open) -> None:
    driver = opened()
    driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    active = driver.switch_to.active_element
    assert active.text == "Skip to the numbers"
    assert active.rect["y"] >= 0
    active.send_keys(Keys.ENTER)
    assert driver.current_url.endswith("#numbers")


def test_a_mark_leads_to_its_note_and_back(opened: Open) -> None:
    driver = opened()
    mark = driver.find_element(By.CSS_SELECTOR, "#numbers-table .mark.err")
    assert "parity gate failed" in mark.get_attribute("aria-label")
    assert mark.get_attribute("title") == mark.get_attribute("aria-label")
    mark.send_keys(Keys.ENTER)
    note = driver.find_element(By.CSS_SELECTOR, ":target")
    assert note.get_attribute("id") == "note-1"
    back = note.find_element(By.CSS_SELECTOR, ".back")
    back.send_keys(Keys.ENTER)
    assert driver.find_element(By.CSS_SELECTOR, ":target").get_attribute("class") == "mark err"


def test_what_a_screen_reader_gets(opened: Open) -> None:
    driver = opened()
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            role = node["role"]["value"]
            named.setdefault(role, []).append(str(node.get("name", {}).get("value", "")))
    assert {"banner", "navigation", "main", "contentinfo", "search", "table", "region", "figure"} <= set(named)
    for role in (
        "button",
        "link",
        "image",
        "img",
        "figure",
        "table",
        "region",
        "searchbox",
        "combobox",
        "columnheader",
    ):
        assert all(named.get(role, ["named"])), role
    pictures = [*named.get("image", []), *named.get("img", [])]
    assert sum("Up and to the left is better" in name for name in pictures) == 2
    headings = [node for node in nodes if not node.get("ignored") and node["role"]["value"] == "heading"]
    levels = [
        next(each["value"]["value"] for each in node["properties"] if each["name"] == "level") for node in headings
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_struck_out_number_is_said_to_be_invalid(opened: Open) -> None:
    driver = opened()
    cell = driver.find_element(By.XPATH, '//tr[.//span[text()="lut4-oc8"]]/td[.//s[text()="48.60"]]')
    assert cell.get_attribute("textContent").startswith("invalid: 48.60")
    line = driver.execute_script(
        "return getComputedStyle(arguments[0]).textDecorationLine", cell.find_element(By.TAG_NAME, "s")
    )
    assert line == "line-through"


def test_the_table_behind_a_chart_opens_by_keyboard(opened: Open) -> None:
    driver = opened()
    summary = driver.find_element(By.CSS_SELECTOR, ".chart summary")
    summary.send_keys(Keys.ENTER)
    table = driver.find_element(By.CSS_SELECTOR, ".chart details[open] table")
    assert "48.60 (invalid)" in table.text
    assert driver.execute_script(OVERFLOWING) == []


def test_a_large_study_with_long_and_hostile_names(
    opened: Open, tmp_path: Path, result: Result, rounds: tuple[Round, ...]
) -> None:
    evil = "<img src=x onerror=window.hacked=1>-a-name-without-a-single-space-that-goes-on-and-on-and-on"
    rows = [row.model_copy(update={"name": f"{row.name}-{copy}"}) for copy in range(6) for row in result.rows[:4]]
    rows += [result.rows[2].model_copy(update={"name": evil})]
    runs = [run.model_copy(update={"variant": f"{evil} {place}"}) for place, run in enumerate(rounds[0].runs[:4])]
    wide = result.model_copy(update={"rows": tuple(rows), "name": evil, "findings": ()})
    path = tmp_path / "large.html"
    path.write_text(render_html(wide, (rounds[0].model_copy(update={"runs": tuple(runs)}),)), encoding="utf-8")
    for width in WIDTHS:
        driver = opened(width, "light", path)
        assert driver.get_log("browser") == []
        assert driver.execute_script("return window.hacked === undefined")
        assert driver.execute_script("const e = document.documentElement; return e.scrollWidth <= e.clientWidth")
        assert driver.execute_script(OVERFLOWING) == []
