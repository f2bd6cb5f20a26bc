"""The reader's page: self-contained, and in a real browser what the numbers say."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import MODEL
from PIL import Image
from tiny_bundle import photo

from monai_cavga.clinical.localize import write_results
from monai_cavga.clinical.outcome import Outcome
from monai_cavga.clinical.records import Localisation, Source
from monai_cavga.clinical.write import write_kinds
from monai_cavga.clinical.write.index import MOST_IMAGES, write_index

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
HOSTILE = "<img src=x onerror=alert(1)>"


def write_run(folder: Path) -> Path:
    """Three images of scores 0.3, 0.9, 0.6, and one that was refused, whose name is hostile."""
    outcomes = []
    for number, score in enumerate((0.3, 0.9, 0.6)):
        pixels = photo(number).astype(np.float32) / 255
        rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        fov = np.hypot(rows - 60, columns - 88) < 55
        values = (score * np.exp(-np.hypot(rows - 40, columns - 70) / 20)).astype(np.float32)
        source = Source(path=Path(f"{'abc'[number]}{number}.png"), pixels=pixels, sha256=f"{number:064x}")
        found = Localisation(
            source=source, model=MODEL, map=np.where(fov, values, 0), fov=fov, score=score, percentile=90.0 * score
        )
        files, _ = write_kinds(found, folder, f"stem{number}", kinds=["page"])
        record = {
            "height": 120,
            "width": 176,
            "laterality": "RL"[number % 2],
            "score": score,
            "percentile": None if number == 2 else found.percentile,
            "threshold": 0.5,
            "area": found.area,
            "files": files,
        }
        outcomes.append(Outcome(path=source.path, state="ok", sha256=source.sha256, record=record))
    outcomes.append(Outcome(path=Path(f"{HOSTILE}.png"), state="refused", reason=f"got {HOSTILE}"))
    write_results(outcomes, folder, model=MODEL, kinds=["page"])
    return folder / "index.html"


def test_the_page_is_one_file_that_fetches_nothing(tmp_path):
    text = write_run(tmp_path).read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) == 6
    assert all(each.startswith("data:image/") for each in sources)
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert HOSTILE not in text
    assert "above normals: unknown" in text
    assert "Anomaly relative to the training normals; research use, not for diagnosis." in text
    assert text.index("b1.png") < text.index("c2.png") < text.index("a0.png")
    assert write_run(tmp_path / "again").read_bytes() == text.encode()


def test_a_run_without_results_has_a_page_that_says_so(tmp_path):
    model = replace(MODEL, false_positive_rate=float("nan"), calibration_sha256="", normals=0)
    text = write_index(tmp_path, [{"path": "a", "state": "failed", "reason": "b"}], model=model).read_text()
    assert "No image was localised." in text
    assert "<dd>unknown</dd>" in text


def test_a_large_run_shows_the_highest_scores(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "x.png")
    one = {"state": "ok", "percentile": None, "laterality": "", "area": 0.1, "threshold": 0.5, "width": 2, "height": 2}
    one["files"] = {"page_photo": "x.png", "page_map": "x.png"}
    images = [{**one, "path": f"{n}.png", "score": n / 1000} for n in range(MOST_IMAGES + 5)]
    text = write_index(tmp_path, images, model=MODEL).read_text()
    assert text.count('<li data-name="') == MOST_IMAGES
    assert f"The {MOST_IMAGES} highest scores of {MOST_IMAGES + 5}" in text
    assert "4.png" in text
    assert 'data-name="3.png"' not in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    api = pytest.importorskip("playwright.sync_api", reason="driving the page needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("driving the page needs chromium")
    with api.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=chromium, headless=True, args=FLAGS
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def page(browser, written):
    one = browser.new_page()
    one.set_default_timeout(20000)
    one.complaints, one.requested = [], []
    one.on("console", lambda message: one.complaints.append(message.text))
    one.on("pageerror", lambda error: one.complaints.append(str(error)))
    one.on("request", lambda request: one.requested.append(request.url))
    one.set_viewport_size({"width": 1280, "height": 800})
    one.goto(written.as_uri())
    one.wait_for_selector("html[data-ready='b1.png']")
    yield one
    assert one.complaints == []
    assert [url for url in one.requested if not url.startswith("data:")] == [written.as_uri()]
    one.close()


def layer(written: Path, number: int) -> np.ndarray:
    return np.asarray(Image.open(written.parent / "page" / f"stem{number}.png")).astype(int)


def count(page, name: str = "above") -> int:
    return int(page.locator("#canvas").get_attribute(f"data-{name}"))


def order(page) -> list[str]:
    return [each.get_attribute("data-name") for each in page.locator("#list > li").all()]


def test_the_threshold_slider_shows_what_lies_above(page, written):
    values = layer(written, 1)
    assert count(page, "inside") == (values > 0).sum()
    assert count(page) == (values - 1 > 127).sum()
    page.locator("#threshold").fill("60")
    assert count(page) == (values - 1 > 60).sum()
    assert page.locator("#threshold-shown").inner_text() == f"{60 / 254:.3f}"
    assert (
        f"{(values - 1 > 60).sum() / (values > 0).sum():.2%}".replace("%", " %") in page.locator("#facts").inner_text()
    )
    page.locator("#reset").click()
    assert count(page) == (values - 1 > 127).sum()


def pixel(page, row: int, column: int) -> list[int]:
    script = f"Array.from(document.getElementById('canvas').getContext('2d').getImageData({column},{row},1,1).data)"
    return page.evaluate(script)[:3]


def test_the_opacity_slider_and_the_space_bar_show_the_photograph(page):
    marked = pixel(page, 40, 70)
    page.locator("#opacity").fill("0")
    plain = pixel(page, 40, 70)
    assert plain != marked
    assert page.locator("#opacity-shown").inner_text() == "0 %"
    page.locator("#opacity").fill("75")
    assert pixel(page, 40, 70) == marked
    page.locator("#canvas").focus()
    page.keyboard.press("Space")
    assert pixel(page, 40, 70) == plain


def test_the_outline_can_be_taken_away(page):
    script = (
        "Array.from(document.getElementById('canvas').getContext('2d').getImageData(0,0,176,120).data)"
        ".reduce((n, v, i, a) => n + (i % 4 === 0 && v === 255 && a[i+1] === 64 && a[i+2] === 200), 0)"
    )
    assert page.evaluate(script) > 10
    page.locator("#outline").uncheck()
    assert page.evaluate(script) == 0


def test_images_are_sorted(page):
    assert order(page) == ["b1.png", "c2.png", "a0.png"]
    page.locator("#sort").select_option("name")
    assert order(page) == ["a0.png", "b1.png", "c2.png"]
    page.locator("#sort").select_option("area")
    assert order(page) == ["b1.png", "c2.png", "a0.png"]


def test_the_keyboard_reaches_everything(page):
    page.locator("#list button").first.focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("html[data-ready='c2.png']")
    page.keyboard.press("End")
    page.wait_for_selector("html[data-ready='a0.png']")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("html[data-ready='c2.png']")
    before = int(page.locator("#threshold").input_value())
    page.keyboard.press("ArrowUp")
    assert int(page.locator("#threshold").input_value()) == before + 2
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowRight")
    assert int(page.locator("#threshold").input_value()) == before + 3


@pytest.mark.parametrize("size", [(1280, 800), (820, 1180), (600, 960)])
def test_a_laptop_and_a_tablet_need_no_sideways_scrolling(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    box = page.locator("#canvas").bounding_box()
    assert box["width"] > 0.35 * size[0]


def test_axe_finds_nothing(page):
    file = Path(__file__).resolve().parents[2] / ".tools" / "axe.min.js"
    if not file.is_file():
        pytest.skip("checking accessibility needs axe-core: see tests/install_tools.sh")
    page.evaluate(file.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
