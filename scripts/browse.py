#!/usr/bin/env python3
"""Opens pages in a real Chromium without a screen, as their readers do, and says what happened, as JSON.

    scripts/browse.py OUT PAGE...

Each page is opened at the width of a desk (1280) and of a phone (390), looked at, and printed. For each there is

    {"page": …, "widths": {"1280": {"said": […], "asked": […], "title": …, "text": …, "scrolls": …}, …},
     "tables": [the words of the last row of each table], "pdf": …, "printed": …}

`said` is what the console or the engine complained about, `asked` every request but for the page itself,
`scrolls` by how many pixels the page is wider than the window, `printed` the text of the PDF, by pdftotext.
OUT gets a picture for each width and the PDF. The browser is driven over the pipes of its DevTools protocol.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

WIDTHS = (1280, 390)
# What the page shows with all that is folded unfolded, by the page's own document; run by the debugger, which the page's policy does not bind.
LOOK = """document.querySelectorAll('details').forEach(one => { one.open = true }), JSON.stringify({
    title: document.title,
    text: document.body.innerText,
    scrolls: document.documentElement.scrollWidth - window.innerWidth,
    scripts: document.scripts.length,
    tables: [...document.querySelectorAll('table')].map(table => [...table.rows].pop()?.innerText ?? ''),
})"""
COMPLAINTS = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"}


class Browser:
    """A Chromium, with one tab."""

    def __init__(self, profile: str) -> None:
        binary = shutil.which("chromium") or shutil.which("chromium-browser")
        if binary is None:
            raise SystemExit("browse: chromium is missing: scripts/setup.sh installs what tests need")
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        argv = [binary, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--hide-scrollbars", f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]  # fmt: skip

        def hand_over() -> None:
            # Chromium reads commands from 3 and writes answers to 4; neither end may lie there yet.
            low, high = os.dup2(commands, 13), os.dup2(answers, 14)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self.process = subprocess.Popen(
            argv, preexec_fn=hand_over, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict] = []
        target = self.run("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.run("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.run(f"{domain}.enable")

    def _next(self) -> dict:
        while b"\0" not in self._buffer:
            more = os.read(self._read, 1 << 20)
            if not more:
                raise SystemExit("browse: chromium ended")
            self._buffer += more
        raw, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(raw)

    def run(self, method: str, **parameters: object) -> dict:
        """Runs a command and gives its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise SystemExit(f"browse: {method}: {answer['error']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def wait_for(self, event: str) -> None:
        """Returns when the event has come."""
        while not any(one["method"] == event for one in self.events):
            self.events.append(self._next())

    def _resize(self, width: int, height: int) -> None:
        phone = width < 500
        self.run("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def stretch(self, width: int) -> None:
        """Makes the window as high as the page, so that nothing waits to be scrolled to."""
        height = self.run("Page.getLayoutMetrics")["cssContentSize"]["height"]
        self._resize(width, min(int(height) + 1, 16_000))

    def open(self, url: str, width: int) -> None:
        """Opens a page at a width."""
        self._resize(width, 900)
        self.events.clear()
        self.run("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def look(self) -> dict:
        """What the page shows."""
        return json.loads(self.run("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"])


def visit(browser: Browser, page: pathlib.Path, out: pathlib.Path) -> dict:
    """Looks at one page in all ways."""
    url = page.resolve().as_uri()
    result: dict = {"page": str(page), "widths": {}}
    for width in WIDTHS:
        browser.open(url, width)
        browser.stretch(width)
        picture = browser.run("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        seen = browser.look()
        browser.stretch(width)
        seen = browser.look()
        (out / f"{page.stem}-{width}.png").write_bytes(base64.b64decode(picture["data"]))
        requests = [one["params"]["request"]["url"] for one in browser.events if one["method"] == "Network.requestWillBeSent"]
        result["tables"] = seen.pop("tables")
        result["widths"][str(width)] = {
            **seen,
            "said": [one for one in browser.events if one["method"] in COMPLAINTS],
            "asked": [asked for asked in requests if asked != url],
        }
    browser.open(url, WIDTHS[0])
    pdf = browser.run("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    path = out / f"{page.stem}.pdf"
    path.write_bytes(base64.b64decode(pdf["data"]))
    text = subprocess.run(["pdftotext", "-raw", path, "-"], check=True, capture_output=True).stdout
    result["pdf"] = str(path)
    result["printed"] = text.decode(errors="replace")
    return result


def main() -> int:
    """Visits all pages."""
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    # Processes of the browser may still write into it when the first one has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            print(json.dumps([visit(browser, pathlib.Path(page), out) for page in sys.argv[2:]]))
        finally:
            browser.process.terminate()
            browser.process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
