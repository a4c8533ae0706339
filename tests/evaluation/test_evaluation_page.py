"""The report and the comparison in a real browser that has no network."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import PROGRAM, Browser
from PIL import Image
from test_evaluation_run import webp_point

from promptcodec.errors import OutputError, UsageError
from promptcodec.evaluation.codecs.registry import find_codecs
from promptcodec.evaluation.evaluate import evaluate
from promptcodec.evaluation.measure import Measurement
from promptcodec.evaluation.perceptual import QualityMetrics
from promptcodec.evaluation.reports import html_page
from promptcodec.evaluation.reports.equal_size import (
    DecodedView,
    Slide,
    at_equal_size,
    largest_within,
)
from promptcodec.evaluation.reports.html import (
    choose_pictures,
    find_names,
    make_slides,
    write_report,
)
from promptcodec.evaluation.reports.html_page import embed, write_page
from promptcodec.evaluation.results import as_json
from promptcodec.io.load import load_picture

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    y, x = np.mgrid[0:176, 0:208]
    for number in range(6):
        waves = [128 + 90 * np.sin(x / (5 + c + number)) * np.cos(y / 11) for c in range(3)]
        noise = np.random.default_rng(number).normal(0, 6, (176, 208, 3))
        pixels = np.clip(np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)
        # A name that must not end the script element or become markup.
        name = f"picture {number} <script>&.png" if number == 0 else f"{number}.png"
        Image.fromarray(pixels).save(root / name)
    return root


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    """A codec that compresses well enough to have a curve beside its peers."""
    points = [webp_point(f"rate {n}", quality) for n, quality in enumerate((10, 40, 60, 80))]
    return Measurement(tuple(points), find_codecs(("jpeg", "webp")), QualityMetrics())


@pytest.fixture(scope="module")
def facts(folder: Path, measurement: Measurement) -> dict:
    results = evaluate(folder, replace(measurement, metrics=QualityMetrics(("psnr", "ms-ssim"))))
    return as_json(replace(results, base_hash="ab" * 32))


@pytest.fixture(scope="module")
def report(
    facts: dict,
    folder: Path,
    measurement: Measurement,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    slides = make_slides(folder, measurement, choose_pictures(facts))
    write_report(facts, path, slides=slides)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@needs_browser
class TestInTheBrowser:
    def test_nothing_is_fetched_and_nothing_fails(self, browser: Browser, report: Path) -> None:
        for width, dark in ((1000, False), (390, True)):
            browser.open(report, width=width, dark=dark)
            # Nothing sticks out sideways of a phone.
            assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert {url.split(":")[0] for url in browser.requests} == {"file", "data"}
        assert browser.errors == []

    def test_the_watch_sees_a_request_and_an_error(
        self, browser: Browser, report: Path, tmp_path: Path
    ) -> None:
        spoiled = tmp_path / "spoiled.html"
        text = report.read_text().replace("</body>", '<img src="http://example.org/a.png"></body>')
        spoiled.write_text(text)
        before = len(browser.errors)
        browser.open(spoiled)
        assert any("Content Security Policy" in error for error in browser.errors[before:])
        del browser.errors[before:]

    def test_the_divider_follows_keys_and_pointer(self, browser: Browser, report: Path) -> None:
        browser.open(report)
        place = "document.querySelector('.divider').getBoundingClientRect().x"
        before = browser.run(place)
        browser.run("document.querySelector('.divide').focus()")
        browser.press("ArrowRight", code=39)
        after = browser.run(place)
        assert after > before
        browser.run("document.querySelector('.stage').scrollIntoView()")
        box = json.loads(
            browser.run("JSON.stringify(document.querySelector('.stage').getBoundingClientRect())")
        )
        y = box["top"] + 20
        quarter = box["left"] + box["width"] / 4
        browser.drag((box["left"] + box["width"] / 2, y), (quarter, y))
        assert browser.run(place) == pytest.approx(quarter, abs=4)
        clip = browser.run("document.querySelector('img.left').style.clipPath")
        assert clip.startswith("inset(0")

    def test_zoom_shows_single_pixels(self, browser: Browser, report: Path) -> None:
        browser.open(report)
        browser.run(
            "[...document.querySelectorAll('button')].find(b => b.textContent[0] == '4').click()"
        )
        assert browser.run("document.querySelector('.stage').clientWidth") == 4 * 208

    def test_both_sides_can_be_chosen(self, browser: Browser, report: Path) -> None:
        browser.open(report)
        captions = "[...document.querySelectorAll('.captions span')].map(s => s.textContent)"
        ours, rival = browser.run(captions)
        assert ours.startswith("promptcodec, rate 1") and rival.startswith("JPEG, quality")
        sizes = [int(re.search(r"([\d,]+) bytes", c)[1].replace(",", "")) for c in (ours, rival)]
        assert sizes[1] <= sizes[0]
        browser.run(
            "(() => { const s = [...document.querySelectorAll('#slider select')].at(-1);"
            "s.value = 0; s.dispatchEvent(new Event('change')); })()"
        )
        assert browser.run(captions)[1] == "original"

    def test_the_chart_reads_points_by_key_and_pointer(
        self, browser: Browser, report: Path, facts: dict
    ) -> None:
        browser.open(report)
        browser.run("document.querySelector('svg.chart').focus()")
        browser.press("ArrowRight", code=39)
        reading = "document.querySelector('.reading').textContent"
        first = facts["points"][0]
        assert browser.run(reading) == (
            f"promptcodec ({first['label']}): {first['bpp']:.3f} bpp, {first['psnr']:.2f} dB"
        )
        browser.press("ArrowDown", code=40)
        assert browser.run(reading).startswith("JPEG (quality")
        curves = "document.querySelectorAll('svg.chart path').length"
        assert browser.run(curves) == 3
        browser.run("document.querySelectorAll('.legend input')[1].click()")
        assert browser.run(curves) == 2
        browser.run("[...document.querySelectorAll('#chart button')][1].click()")
        box = json.loads(
            browser.run(
                "JSON.stringify(document.querySelector('svg.chart circle').getBoundingClientRect())"
            )
        )
        x, y = box["left"] + box["width"] / 2, box["top"] + box["height"] / 2
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        assert "MS-SSIM 0." in browser.run(reading)

    def test_tables_say_what_the_results_say(
        self, browser: Browser, report: Path, facts: dict
    ) -> None:
        browser.open(report)
        text = browser.run("document.body.textContent")
        rate = facts["comparisons"][0]["deltas"]["bd_rate"]
        assert f"{rate['value']:+.1f} ({rate['low']:+.1f} to {rate['high']:+.1f})" in text
        for each in facts["points"][0]["pictures"]:
            assert each["picture"] in text and f"{each['psnr']:.2f}" in text
        assert facts["base_hash"] in text and "libjpeg_turbo" in text
        assert browser.run("document.querySelectorAll('script').length") == 2


def test_the_report_is_one_file_of_bounded_size(report: Path) -> None:
    assert report.stat().st_size < html_page.MAX_BYTES
    assert [each.name for each in report.parent.iterdir()] == ["report.html"]


def test_large_pictures_are_cropped_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_page, "PICTURE_BYTES", 60_000)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    view = DecodedView("noise", None, None, None, noise)
    (found,) = embed([Slide("noise", [view, view])])
    assert found["cropped"]
    assert sum(len(each["source"]) for each in found["views"]) <= 60_000


def test_pages_that_stay_too_large_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(html_page, "MAX_BYTES", 1000)
    path = tmp_path / "a.html"
    with pytest.raises(UsageError, match="show fewer pictures"):
        write_page(path, "compare.html", title="t", data={}, slides=[], force=False)
    assert not path.exists()
    monkeypatch.setattr(html_page, "MAX_BYTES", 10**6)
    path.write_text("old")
    with pytest.raises(OutputError, match="--force"):
        write_page(path, "compare.html", title="t", data={}, slides=[], force=False)


def test_pictures_are_chosen_by_name_or_by_lead(facts: dict) -> None:
    assert choose_pictures(facts, ["3", "1.png"]) == ["3.png", "1.png"]
    assert len(set(choose_pictures(facts))) == 3
    with pytest.raises(UsageError, match="'nine' is measured"):
        choose_pictures(facts, ["nine"])
    # One that failed is left out, and where nothing is left the lead chooses.
    broken = facts | {"failures": [{"picture": "9.png", "reason": "broken"}]}
    assert choose_pictures(broken, ["9", "1"]) == ["1.png"]
    assert choose_pictures(broken, ["9"]) == choose_pictures(facts)


def test_pictures_have_short_names() -> None:
    names = ["a/x.png", "b/x.png", "b/y.png"]
    for short in ("b/y.png", "b/y", "y.png", "y"):
        assert find_names([short], names) == ["b/y.png"]
    assert find_names(["a/x"], names) == ["a/x.png"]
    with pytest.raises(UsageError, match=r"'x' is a/x.png or b/x.png"):
        find_names(["x"], names)


def test_views_are_real_files_of_equal_size(folder: Path, measurement: Measurement) -> None:
    picture = load_picture(folder / "1.png")
    point = measurement.points[-1]
    original, ours, jpeg, webp = at_equal_size(picture, point, measurement.codecs)
    assert original.caption == "original" and original.rgb is picture.rgb
    assert ours.size == len(point.encode(picture.rgb).data)
    for each in (jpeg, webp):
        assert each.size is not None and 0.8 * ours.size < each.size <= ours.size
        assert f"{each.size:,} bytes" in each.caption


def test_the_lowest_setting_is_taken_where_none_fits() -> None:
    assert largest_within(lambda q: bytes(q), 5, settings=(10, 20, 30)) == (10, bytes(10))
    assert largest_within(lambda q: bytes(q), 25, settings=(10, 20, 30)) == (20, bytes(20))
