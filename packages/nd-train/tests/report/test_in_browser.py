"""The report card in headless Chromium (``nox -s report``): it draws, moves, sorts, prints, and needs no network."""

import os
import shutil

import pytest

from nd_train.report import write_report
from nd_train.report.baselines import RIDGE, write_baselines

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = os.environ.get("ND_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)}, nor ND_BROWSER"),
    # Playwright's own event loop is left to the interpreter's end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

HOSTILE = 'lab/</script><img src=x onerror="alert(1)">day_3'
VELOCITY = "cursor_velocity_2d"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as library:
        running = library.chromium.launch(executable_path=BROWSER)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page_file(make_run_in, tmp_path_factory):
    folder = make_run_in(tmp_path_factory.mktemp("report"), "lab/day_1", "lab/day_2", HOSTILE)
    write_baselines(folder, "test", {RIDGE: {"lab/day_1": {VELOCITY: {"r2": 0.5}}}})
    (path,) = write_report(folder, baselines=False)
    return path


@pytest.fixture
def opened(browser, page_file):
    """Opens the page in a window of its own; in the end nothing may have gone wrong or out."""
    troubles, asked = [], []

    def open_page(**options):
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    assert troubles == []
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {page_file.as_uri()}


def view(page):
    chart = page.locator("#trace-chart")
    return float(chart.get_attribute("data-from")), float(chart.get_attribute("data-to"))


def wait_for_view(page, before):
    page.wait_for_function(
        "before => document.getElementById('trace-chart').dataset.from !== before",
        arg=repr(before[0]).removesuffix(".0"),
    )
    return view(page)


def column(page, number):
    return page.locator(f"#score-table tbody tr > :nth-child({number})").all_inner_texts()


def test_every_chart_is_drawn(opened):
    page = opened()
    for chart, lines in {"#trace-chart": 4, "#drift-chart": 2, "#curves": 2}.items():
        drawn = page.locator(f"{chart} .scatterlayer .trace")
        assert drawn.count() == lines
        assert all(drawn.nth(place).locator("path.js-line").count() >= 1 for place in range(lines))
    assert page.locator("#trace-chart .ytitle").all_text_contents()[0] == "dimension 1 (cm/s)"


def test_the_chooser_changes_recording_and_task(opened):
    page = opened()
    assert page.locator("#recording option").all_text_contents() == sorted(["lab/day_1", "lab/day_2", HOSTILE])
    page.select_option("#recording", HOSTILE)
    assert page.locator("#chosen-name").inner_text() == HOSTILE
    page.select_option("#task", "movement_phase")
    page.wait_for_function("() => document.querySelectorAll('#trace-chart .scatterlayer .trace').length === 2")
    assert "balanced accuracy" in page.locator("#chosen-score").inner_text()
    assert {"0", "1", "2", "3"} == set(page.locator("#trace-chart .ytick").all_text_contents())
    page.click("#next")
    page.wait_for_function("() => document.getElementById('chosen-name').textContent === 'lab/day_1'")
    page.click("#score-table button[data-trace] >> text=lab/day_2 >> nth=0")
    page.wait_for_function("() => document.getElementById('chosen-name').textContent === 'lab/day_2'")
    assert page.locator("img").count() == 0


def test_dragging_buttons_keys_and_the_wheel_zoom_and_pan(opened):
    page = opened()
    start, end = view(page)
    area = page.locator("#trace-chart .draglayer .nsewdrag").first.bounding_box()
    middle = area["y"] + area["height"] / 2
    page.mouse.move(area["x"] + 0.25 * area["width"], middle)
    page.mouse.down()
    page.mouse.move(area["x"] + 0.75 * area["width"], middle, steps=8)
    page.mouse.up()
    zoomed = wait_for_view(page, (start, end))
    length = end - start
    assert zoomed == pytest.approx((start + 0.25 * length, end - 0.25 * length), abs=0.02 * length)
    page.click("#later")
    later = wait_for_view(page, zoomed)
    assert later == pytest.approx((zoomed[0] + 0.25 * length, zoomed[1] + 0.25 * length), abs=0.02 * length)
    page.focus("#trace-chart")
    page.keyboard.press("ArrowLeft")
    earlier = wait_for_view(page, later)
    assert earlier[0] < later[0]
    page.keyboard.press("+")
    closer = wait_for_view(page, earlier)
    assert closer[1] - closer[0] == pytest.approx((earlier[1] - earlier[0]) / 2, rel=1e-6)
    page.mouse.wheel(0, 300)
    wider = wait_for_view(page, closer)
    assert wider[1] - wider[0] > closer[1] - closer[0]
    page.keyboard.press("0")
    whole = wait_for_view(page, wider)
    assert whole == pytest.approx((500.0, 559.99), abs=1e-3)


def test_a_window_of_the_score_over_time_can_be_looked_at(opened):
    page = opened()
    before = view(page)
    last = page.locator("#drift-chart .points path.point").last
    last.scroll_into_view_if_needed()
    box = last.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    start, end = wait_for_view(page, before)
    assert end == pytest.approx(559.99, abs=1e-3)
    assert end - start < 20.0


def test_a_heading_sorts_its_column_both_ways_and_what_has_no_value_comes_last(opened):
    page = opened()
    page.click("#score-table thead button >> text=ridge regression")
    page.click("#score-table thead button >> text=/^score/")
    down = [float(text.split()[0]) for text in column(page, 3)]
    assert down == sorted(down, reverse=True)
    page.click("#score-table thead button >> text=/^score/")
    assert [float(text.split()[0]) for text in column(page, 3)] == sorted(down)
    header = page.locator("#score-table thead th:nth-child(3)")
    assert header.get_attribute("aria-sort") == "ascending"
    page.click("#score-table thead button >> text=recording")
    names = column(page, 1)
    assert names == sorted(names)
    page.click("#score-table thead button >> text=ridge regression")
    assert column(page, 5)[0] == "0.500"
    assert set(column(page, 5)[1:]) == {"–"}


def test_dark_and_light_have_colours_of_their_own_and_change_at_once(opened):
    page = opened(color_scheme="dark")
    stroke = "getComputedStyle(document.querySelector('#trace-chart path.js-line')).stroke"
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(stroke), page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"before => {stroke} !== before", arg=dark[0])
    assert page.evaluate(ground) != dark[1]


def test_text_has_contrast_in_both_schemes(opened):
    page = opened()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for selector in (".headline .value", ".fine", "button.link", "nav a", ".facts dt", "thead button"):
            ink = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).color")
            ground = page.evaluate("getComputedStyle(document.querySelector('section:not(.cards)')).backgroundColor")
            assert contrast(ink, ground) >= 4.5, (scheme, selector)


def contrast(one, other):
    """The ratio of WCAG 2."""
    levels = []
    for color in (one, other):
        parts = [int(part) / 255 for part in color.removeprefix("rgb(").rstrip(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)


def test_it_prints_light_and_fits_the_paper_also_from_a_dark_screen(opened):
    page = opened(color_scheme="dark")
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.wait_for_function("() => document.querySelector('#trace-chart .main-svg').getAttribute('width') === '690'")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert page.locator(".controls").first.is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_function("() => document.querySelector('#trace-chart .main-svg').getAttribute('width') !== '690'")


def test_the_command_is_copied(opened):
    page = opened()
    page.click("button[data-copy=command]")
    said = page.wait_for_selector("button[data-copy=command] >> text=/copied|selected/")
    assert said.inner_text() in ("copied", "selected")


def test_a_narrow_window_needs_no_sideways_scrolling(opened):
    page = opened(viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
