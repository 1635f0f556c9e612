"""The picture of how-to/report-card: ``nd-train quickstart && python docs/figures/report_card.py quickstart``.

Needs playwright and a Chromium (``ND_BROWSER`` names one that is not on the path).
"""

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from nd_train.report import write_report

WIDTH, HEIGHT = 1180, 1120


def main(run: str) -> None:
    browser_path = os.environ.get("ND_BROWSER") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as library:
        (card,) = write_report(run, Path(folder) / "report.html")
        browser = library.chromium.launch(executable_path=browser_path)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(card.as_uri())
        page.wait_for_selector("html[data-ready]")
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    picture.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
