"""Draws docs/screens: the report of a run on generated images, at the width of a desk and of a phone.

    make demo && python docs/make_screenshots.py runs/demo

It needs a Chromium (or Chrome) on the machine, and playwright, which `make setup` installs.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tag2mask.report import build_page, read_runs

OUT = Path(__file__).parent / "screens"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
QUALITY = 75
"""Of WebP: the texts stay sharp, and the files small."""


def main(run: str) -> None:
    """Write the pictures of a run's report."""
    chromium = next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    if chromium is None:
        raise SystemExit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        page = Path(folder, "report.html")
        page.write_text(build_page(read_runs([run]), images=16), encoding="utf-8")
        browser = started.chromium.launch(executable_path=chromium, args=FLAGS)
        desk = browser.new_page(viewport={"width": 1280, "height": 900})
        desk.goto(page.as_uri())
        save(desk, "report.webp")
        desk.fill("[name=threshold]", "0.3")
        desk.select_option("[name=order]", "worst")
        desk.evaluate("document.getElementById('images').scrollIntoView()")
        desk.wait_for_timeout(1000)
        save(desk, "report-images.webp")
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        phone.goto(page.as_uri())
        save(phone, "report-phone.webp")
        browser.close()


def save(page: Any, name: str) -> None:
    """What the window shows, as a small file."""
    OUT.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(OUT / name, quality=QUALITY, method=6)


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["runs/demo"])
