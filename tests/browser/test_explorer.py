"""The explorer as someone sees it who opens a notebook: what is touched lights what belongs to it."""

import os

import numpy as np
import pytest

from triconv import ConvGeometry, flatten_weight, im2col

playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` brings Playwright")

CODE = """
import numpy as np, triconv
x = np.arange(42.0).reshape(6, 7) % 10
weight = np.array([[[[1.0], [2], [0]], [[-1], [0], [1]], [[3], [1], [-2]]], np.ones((3, 3, 1))])
w = triconv.explore(x, weight, padding=1)
w
"""
X = np.arange(42.0).reshape(6, 7) % 10
WEIGHT = np.array([[[[1.0], [2], [0]], [[-1], [0], [1]], [[3], [1], [-2]]], np.ones((3, 3, 1))])
GEOMETRY = ConvGeometry(X.shape, 3, 2, padding=1)


@pytest.fixture(scope="module", params=[(1400, "light"), (500, "dark")], ids=["wide, light", "narrow, dark"])
def opened(request, lab, browser):
    """A notebook that makes an explorer; nothing may go wrong in the browser's console."""
    nbformat = pytest.importorskip("nbformat")
    url, served = lab
    width, scheme = request.param
    cells = [nbformat.v4.new_code_cell(source) for source in (CODE.strip(), "")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), served / f"{scheme}.ipynb")
    context = browser.new_context(viewport={"width": width, "height": 2400}, color_scheme=scheme)
    page = context.new_page()
    errors = []
    broken = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.add_locator_handler(page.locator(".jp-Dialog"), lambda: page.keyboard.press("Enter"))
    page.goto(f"{url}doc/tree/{scheme}.ipynb")
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.locator("[data-status='idle']").first.wait_for(state="attached", timeout=60_000)
    yield page
    if folder := os.environ.get("TRICONV_SCREENSHOTS"):
        photograph(page.locator(".triconv").first, folder, width, scheme)
    assert broken == []
    assert [error for error in errors if "triconv" in error or "anywidget" in error] == []
    context.close()


def photograph(explorer, folder, width, scheme):
    """A picture with an output lit and one with a pixel lit, in light and in dark."""
    for other in (scheme, "dark" if scheme == "light" else "light"):
        explorer.page.emulate_media(color_scheme=other)
        for kind, place in (("input", "3 4 0"), ("output", "2 3 0")):
            explorer.locator(f"td[data-at='{kind} {place}']").click()
            explorer.page.wait_for_timeout(2000)  # until times are measured, and the colours have changed
            explorer.screenshot(path=f"{folder}/explorer-{kind}-{width}-{other}.png")


@pytest.fixture
def page(opened):
    """The notebook's first cell, run anew."""
    for _ in range(10):  # a kernel that is not there yet takes no notice
        opened.locator(".jp-CodeCell .cm-content").first.click()
        opened.keyboard.press("Shift+Enter")
        try:
            opened.locator(".triconv-says", has_text="Y[0, 0, 0]").wait_for(timeout=20_000)
        except playwright.TimeoutError:
            continue
        break
    return opened


def lit(page, kind):
    """Where the lit numbers of a panel are."""
    cells = page.locator(f".triconv td.lit[data-at^='{kind} ']").evaluate_all(
        "all => all.map(e => e.dataset.at)"
    )
    return sorted(tuple(map(int, cell.split()[1:])) for cell in cells)


def touch(page, kind, *at):
    page.locator(f".triconv td[data-at='{kind} {' '.join(map(str, at))}']").click()


def wait(page, text):
    page.locator(".triconv-says", has_text=text).wait_for()


def test_touched_output_lights_its_patch_its_vectors_and_its_row(page):
    touch(page, "output", 2, 3, 1)
    wait(page, "Y[2, 3, 1]")
    rows, columns, _ = GEOMETRY.patch(2, 3)
    inside = [(r, c, 0) for r in range(rows.start, rows.stop) for c in range(columns.start, columns.stop)]
    assert lit(page, "input") == inside
    shown = page.locator(".triconv-written tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => Number(cell.textContent)))"
    )
    assert shown[0] == im2col(X, 3, padding=1)[2 * 7 + 3].tolist()
    assert shown[1] == flatten_weight(WEIGHT)[1].tolist()
    row = GEOMETRY.output_index(2, 3, 1)
    assert f"lit: row {row}" in page.locator(".triconv canvas").get_attribute("aria-label")


def test_touched_pixel_lights_the_patches_that_hold_it_and_its_column(page):
    touch(page, "input", 3, 4, 0)
    wait(page, "X_pad[3, 4, 0]")
    places = GEOMETRY.patches_containing(3, 4)
    assert lit(page, "output") == sorted((i, j, m) for i, j, _, _ in places.tolist() for m in (0, 1))
    listed = page.locator(".triconv-inverse li").all_text_contents()
    assert listed == [f"({', '.join(map(str, place))})" for place in places.tolist()]
    column = GEOMETRY.padded_index(3, 4, 0)
    assert f"lit: column {column}" in page.locator(".triconv canvas").get_attribute("aria-label")
    near = page.locator(".triconv td.near").evaluate_all("all => all.map(e => e.dataset.at)")
    assert near == [f"input {r} {c} 0" for r in range(1, 6) for c in range(2, 7)]
    page.get_by_role("button", name=listed[2]).press("Enter")
    i, j, _, _ = places[2].tolist()
    wait(page, f"Y[{i}, {j}, 0]")
    page.wait_for_function("document.activeElement.dataset.at?.startsWith('output ')")
    assert page.evaluate("document.activeElement.dataset.at") == f"output {i} {j} 0"


def test_stride_changes_the_sizes_and_only_valid_ones_are_offered(page):
    page.get_by_label("stride of rows").select_option("3")
    page.locator(".triconv .hint", has_text="the output, 2 × 7 × 2").wait_for()
    assert page.locator(".triconv td[data-at^='output ']").count() == 2 * 7 * 2
    offered = page.get_by_label("rows of the kernel").locator("option").all_text_contents()
    assert offered == ["1", "2", "3"]  # no more than the filters have


def test_keyboard_alone_is_enough(page):
    page.locator(".triconv td[data-at='output 0 0 0']").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    wait(page, "Y[1, 2, 0]")
    page.get_by_label("the next output").press("Enter")
    wait(page, "Y[1, 3, 0]")
    touch(page, "input", 4, 4, 0)
    wait(page, "X_pad[4, 4, 0]")
    page.get_by_label("the next output").press("Enter")
    wait(page, "Y[0, 0, 0]")


def test_it_plays_and_pauses(page):
    page.get_by_label("slide the patch over the input").click()
    wait(page, "Y[0, 2, 0]")
    page.get_by_label("slide the patch over the input").click()
    said = page.locator(".triconv-says").text_content()
    page.wait_for_timeout(1500)
    assert page.locator(".triconv-says").text_content() == said


def test_python_changes_the_page_and_the_page_python(page):
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    page.keyboard.type('w.stride = 2, 3\nw.selected = "input", 1, 1, 0')
    page.keyboard.press("Shift+Enter")
    wait(page, "X_pad[1, 1, 0]")
    page.locator(".triconv .hint", has_text="the output, 3 × 3 × 2").wait_for()
    touch(page, "output", 1, 2, 0)
    wait(page, "Y[1, 2, 0]")
    page.locator(".jp-CodeCell .cm-content").nth(2).click()
    page.keyboard.type("print('now', w.selected, w.stride)")
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text="now ('output', 1, 2, 0) (2, 3)").wait_for()


def test_times_are_measured(page):
    page.get_by_label("padding mode").select_option('"zeros"')
    page.locator(".triconv-costs td", has_text="s").last.wait_for(timeout=60_000)
    cells = page.locator(".triconv-costs tbody tr td:last-child").all_text_contents()
    assert len(cells) == 3
    assert all(cell.endswith("s") for cell in cells)


def test_a_change_that_changes_no_number_shows_too(page):
    page.locator(".triconv-costs td", has_text="s").last.wait_for(timeout=60_000)
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("w.padding = 0\nw.padding_mode = 'reflect'")
    page.keyboard.press("Shift+Enter")
    page.wait_for_function("document.querySelector('[data-control=padding_mode]').value == '\"reflect\"'")
    page.locator(".triconv-costs td", has_text="s").last.wait_for(timeout=60_000)


def test_large_arrays_scroll_in_their_panels_to_what_is_lit(page):
    # The last test: it leaves a second explorer behind.
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("triconv.explore(np.ones((24, 24, 8)), np.ones((8, 3, 3, 8)))")
    page.keyboard.press("Shift+Enter")
    large = page.locator(".triconv").nth(1)
    large.locator("td[data-at='output 20 20 7']").evaluate("cell => cell.click()")
    large.locator(".triconv-says", has_text="Y[20, 20, 7]").wait_for()
    page.wait_for_timeout(200)
    for kind, place in (("input", "20 20 0"), ("output", "20 20 7")):
        cell = large.locator(f"td[data-at='{kind} {place}']")
        inside = cell.evaluate(
            "cell => { const [a, b] = [cell, cell.closest('.grids')].map(e => e.getBoundingClientRect());"
            " return a.top >= b.top && a.bottom <= b.bottom && a.left >= b.left && a.right <= b.right; }"
        )
        assert inside, kind
    assert large.locator(".grids").first.evaluate("panel => panel.clientHeight") < 500
