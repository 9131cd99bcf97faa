"""The report's page in a real browser: what a reader can do with it, at a desk and on a phone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tag2mask.artifacts import save_maps
from tag2mask.core import ClassList, ScoreMaps
from tag2mask.core.html_pages import page_templates
from tag2mask.core.tables import Table
from tag2mask.report import build_page, read_runs
from tag2mask.report.pictures import data_uri, hex_colour, legend
from tag2mask.tune.page import Row
from tests.report_runs import CAT, DOG, SIZE, add_step, make_images, make_run, numbers

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DOT = data_uri(np.full((30, 40, 3), 128, np.uint8))

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page on two runs, whose maps of image p0 are known: cat 0.8 on the left, dog 0.4 on the right."""
    root = tmp_path_factory.mktemp("page")
    data = make_images(root / "images")
    for name in ("one", "two"):
        run = make_run(root / name, data)
        maps = np.zeros((2, 5, 8), np.float32)
        maps[0, :, :4], maps[1, :, 4:] = 0.8, 0.4
        save_maps(run / "z_cam" / "out", ScoreMaps("p0", maps, [1, 2], SIZE), data.classes)
        score = json.loads((run / "labels" / "score.json").read_text())
        score["confusion"] = [[90, 5, 5, 0, 0], [90, 10, 0, 0, 0], [0, 0, 0, 0, 0]]
        (run / "labels" / "score.json").write_text(json.dumps(score))
        score = json.loads((run / "z_cam" / "score.json").read_text())
        score["curve"] = {"threshold": [0.1, 0.3, 0.5], "miou": [0.3, 0.4, 0.2]}
        (run / "z_cam" / "score.json").write_text(json.dumps(score))
        (run / "labels" / "image_scores.json").write_text(json.dumps({"p0": 0.5, "p1": 0.2, "p2": 0.9}))
        logs = run / "z_cam" / "logs" / "version_0"
        logs.mkdir(parents=True)
        logs.joinpath("metrics.csv").write_text("epoch,step,train/loss\n0,1,0.9\n0,2,0.5\n")
    table = root / "images" / "image_labels.csv"
    table.write_text("image,labels\np0,cat dog\np1,cat\np2,dog\n")
    page = root / "page.html"
    page.write_text(build_page(read_runs([root / "one", root / "two"]), images=6), encoding="utf-8")
    return page.as_uri()


@pytest.fixture(scope="module")
def opened(browser: Any, address: str) -> tuple[Any, list[str]]:
    """The page, opened once, and what it complains about or asks from elsewhere."""
    page = browser.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda r: r.url.startswith(("data:", "file:")) or trouble.append(r.url))
    page.goto(address)
    return page, trouble


@pytest.fixture
def page(opened: tuple[Any, list[str]]) -> Iterator[Any]:
    """The page as it was when it was opened."""
    page, trouble = opened
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("document.getElementById('controls').reset()")
    page.locator("#count", has_text="6 of 6 images").wait_for()
    yield page
    assert trouble == []


def shown(page: Any) -> list[str]:
    return [text.split()[0] for text in page.locator("article:visible h3").all_inner_texts()]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_texts_stand_out(page: Any, width: int, scheme: str) -> None:
    assert_readable(page, width, scheme)


def tune_page() -> str:
    """As ``tag2mask tune`` fills it, with a long path."""
    signals = Table(
        ["settings", "classifier", "edges"], [["> level 0.22, CRF deeplab", "-", "48.1"]], note="Means."
    )
    return page_templates("tag2mask.tune").get_template("tune.html").render(
        title="Settings of mine", chosen="level 0.22", next="tag2mask run psa --run-dir " + "a/" * 200,
        legend=legend([ClassList.from_names(["cat", "traffic light"])]), signals=signals,
        rows=[Row("i" * 120, "cat", [("image", DOT), ("level 0.22", DOT)] * 4)],
    )  # fmt: skip


def samples_page() -> str:
    counts = Table(["class", "train", "val"], [["cat", "12", "6"]], foot=[["images", "12", "6"]])
    pictures = [{"data": DOT.partition(",")[2], "tags": "cat", "id": "folder__" * 20}] * 6
    return page_templates("tag2mask.data.imports").get_template("samples.html").render(
        title="Samples", form="a folder", counts=counts, groups={"cat": pictures}
    )  # fmt: skip


@pytest.mark.parametrize("make", [tune_page, samples_page])
def test_pages_without_scripts(browser: Any, make: Callable[[], str]) -> None:
    page, trouble = browser.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.set_content(make())
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            assert_readable(page, width, scheme)
    ground = "getComputedStyle(document.body).backgroundColor"
    assert sum(int(v) for v in re.findall(r"\d+", page.evaluate(ground))) < 120, "dark is dark"
    page.close()
    assert trouble == []


def assert_readable(page: Any, width: int, scheme: str) -> None:
    """Nothing is cut off, and every text has enough contrast."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    wide = page.evaluate(
        "[...document.querySelectorAll('body *')]"
        ".filter(e => e.offsetParent && !e.closest('thead, .skip, .scroll')"
        f" && e.getBoundingClientRect().right > {width} + 0.5).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == [] and page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) >= 4.5  # level AA of the Web Content Accessibility Guidelines


def test_classes_of_a_run_of_many_steps_stay_words(browser: Any, tmp_path: Path) -> None:
    """Twelve scored steps, as `best` has: the names were broken letter by letter to make room."""
    data = make_images(tmp_path / "images")
    run = make_run(tmp_path / "run", data)
    for number in range(8):
        add_step(run, f"teacher_maps_{number}", "labels", data, parent="walk", score=numbers(0.5))
    address = tmp_path / "page.html"
    address.write_text(build_page(read_runs([run]), images=0), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address.as_uri())
    height = "names => names.map(name => name.clientHeight / parseFloat(getComputedStyle(name).lineHeight))"
    lines = page.locator(".bars").first.locator("tbody th").evaluate_all(height)
    assert max(lines) < 3  # one line, beside a bar and its number
    widths = (
        page.locator(".bars").first.locator(".bar").evaluate_all("bars => bars.map(bar => bar.clientWidth)")
    )
    assert max(widths) < 1.25 * min(widths)  # lengths are compared between columns
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator(".option").evaluate_all("words => words.every(w => w.getClientRects().length == 1)")
    page.close()


def test_images_are_chosen_by_class_and_put_in_order(page: Any) -> None:
    assert shown(page) == ["p0", "p1", "p2"] * 2
    page.select_option("[name=tag]", "cat")
    page.select_option("[name=split]", "train")
    assert shown(page) == ["p0", "p1"] and page.inner_text("#count") == "2 of 6 images"
    page.select_option("[name=tag]", "")
    page.select_option("[name=order]", "worst")
    assert shown(page) == ["p1", "p0", "p2"]
    page.select_option("[name=order]", "best")
    assert shown(page) == ["p2", "p0", "p1"]


def test_the_slider_cuts_the_maps_again(page: Any) -> None:
    """Left and right of p0, as far from the edge between the classes as from the border."""
    read = "c => [4, 25].map(x => [...c.getContext('2d').getImageData(x, 10, 1, 1).data].slice(0, 3))"
    page.locator("article").first.scroll_into_view_if_needed()
    found: dict[str, Any] = {}
    for threshold in ("0.10", "0.50"):
        page.fill("[name=threshold]", threshold)
        canvas = page.locator("canvas").first
        canvas.wait_for()
        page.get_by_text(f"above {threshold}").first.wait_for()
        found[threshold] = canvas.evaluate(read)
    photo = np.asarray(page.locator("article img").first.evaluate(PHOTO), float)
    gray = photo @ [0.299, 0.587, 0.114]
    for at, mask_id, levels in ((0, CAT, ("0.10", "0.50")), (1, DOG, ("0.10",))):
        colour = np.array([int(hex_colour(mask_id)[i : i + 2], 16) for i in (1, 3, 5)])
        for threshold in ("0.10", "0.50"):
            expected = 0.3 * gray[at] + 0.7 * colour if threshold in levels else np.full(3, gray[at])
            assert np.abs(np.array(found[threshold][at]) - expected).max() <= 1  # rounding to 8 bits
    assert page.inner_text("output") == "0.50 · one: z_cam 20.0 % mIoU · two: z_cam 20.0 % mIoU"
    page.click("button[type=reset]")
    page.locator("canvas").first.wait_for(state="detached")
    assert page.inner_text("output").startswith("0.30") and "above 0.30" in page.inner_text(
        "article >> nth=0"
    )


def test_pictures_are_enlarged_and_walked_through_by_keys(page: Any) -> None:
    page.locator(".zoom").first.focus()
    page.keyboard.press("Enter")
    caption = page.locator("#viewer p")
    seen = [caption.inner_text()]
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        seen.append(caption.inner_text())
    names = [text.split(" p0")[0].rstrip(" —") for text in seen]
    assert names == ["image", "z cam: cat", "z cam: cat", "image", "image"]
    assert page.locator("#viewer img").evaluate("i => i.src.startsWith('data:') && i.alt") == "image of p0"
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("document.activeElement.className") == "zoom"


def test_everything_has_a_name_and_headings_come_in_order(page: Any) -> None:
    assert page.evaluate("[...document.images].filter(i => !i.alt && i.src).length") == 0
    unnamed = "[...document.querySelectorAll('select, input')].filter(e => !e.labels.length).length"
    assert page.evaluate(unnamed) == 0
    assert page.locator("svg[role=img][aria-label]").count() == page.locator("svg").count() == 2
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and max(np.diff(levels)) == 1
    assert page.locator("h2").first.inner_text() == "Summary"
    assert "90.0 % of the pixels of cat" not in page.inner_text("#summary")  # of the last step only
    assert "cat → background 90.0 %" in page.inner_text("main")


PHOTO = """i => { const size = [i.naturalWidth, i.naturalHeight];
const c = new OffscreenCanvas(...size).getContext('2d', {willReadFrequently: true});
c.drawImage(i, 0, 0); return [4, 25].map(x => [...c.getImageData(x, 10, 1, 1).data].slice(0, 3)); }"""

# The lowest contrast of a text to the ground that it stands on.
CONTRAST = """(() => {
const parse = c => c.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = e => { const layers = [];
  for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    layers.push(c); if (c[3] === undefined || c[3] === 1) break; }
  let under = layers.pop();
  for (const c of layers.reverse()) under = under.slice(0, 3).map((v, i) => v + (c[3] ?? 1) * (c[i] - v));
  return under; };
const texts = [...document.querySelectorAll('body *')]
  .filter(e => e.offsetParent && !e.closest('svg, option, .skip')
  && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
return Math.min(...texts.map(e => { const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })); })()"""
