"""Headless Chromium for the tests of every package, through chromedriver and selenium; nothing is downloaded.

python tests/helpers/chromium.py ADDRESS FOLDER     # screenshots, wide and narrow, light and dark
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip

#: Text elements on screen with their colour and the first background that is not transparent behind them.
TEXTS = """
const hex = c => '#' + c.match(/[0-9.]+/g).slice(0, 3).map(v => (+v).toString(16).padStart(2, '0')).join('');
const clear = c => /^rgba\\(.*, 0\\)$/.test(c) || c === 'transparent';
const found = [];
const names = 'h1,h2,h3,h4,p,li,td,th,a,button,label,option,summary,pre,code,b,span,div,text';
for (const e of document.querySelectorAll(names)) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.getClientRects().length) continue;
  const style = getComputedStyle(e);
  let at = e;
  while (at && clear(getComputedStyle(at).backgroundColor)) at = at.parentElement;
  found.push([e.tagName + '.' + e.getAttribute('class'), hex(e.tagName === 'text' ? style.fill : style.color),
              hex(getComputedStyle(at || document.body).backgroundColor)]);
}
return found;
"""


def unavailable() -> str | None:
    """Why there is no browser to test with, or `None` when there is one."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed (pip install 'headwater-monitor[test]')"
    if not _chromium():
        return "no Chromium on this machine (apt install chromium)"
    if not shutil.which("chromedriver"):
        return "no chromedriver on this machine (apt install chromium-driver)"
    return None


def in_browser() -> list[pytest.MarkDecorator]:
    """The marks of a test that needs a browser."""
    reason = unavailable()
    return [pytest.mark.browser, pytest.mark.skipif(reason is not None, reason=str(reason))]


def _chromium() -> str | None:
    return os.environ.get("HEADWATER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


class Page:
    """A browser with one page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Loads a local file or an address at a window size and with the system set to light or dark."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)

    def resize(self, width: int, height: int = 900) -> None:
        """Sets the size of the viewport in CSS pixels; below 500 a real window cannot go, so it is emulated."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments: object) -> Any:
        """Runs JavaScript in the page and returns its value."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, seconds: float = 30) -> Any:
        """Waits until JavaScript returns something true, and returns it."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: self.run(script))

    def console(self) -> list[str]:
        """Errors and warnings that the console got since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """Addresses requested since the last call."""
        found: list[str] = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Starts Chromium with an empty profile and ends it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(_chromium())
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        driver.get("about:blank")  # leaves the new-tab page, which makes requests of its own
        yield Page(driver)
    finally:
        driver.quit()


if __name__ == "__main__":
    import sys
    import tempfile
    import time

    address, target = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as page:
        for width in (1280, 390):
            for dark in (False, True):
                page.open(address if "://" in address else Path(address), width=width, dark=dark)
                time.sleep(2)  # for a page that asks for its content
                page.screenshot(target / f"page-{width}-{'dark' if dark else 'light'}.png")
