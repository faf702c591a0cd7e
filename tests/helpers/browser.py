"""A headless Chromium, driven by its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from helpers.waiting import PATIENCE_S, wait_until

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The browser's path: $ORBIT_CHROMIUM, or the first of the usual names."""
    named = os.environ.get("ORBIT_CHROMIUM")
    return named or next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """A context manager: one page at a time, and everything that went wrong in it."""

    def __init__(self, program: str, profile: Path) -> None:
        self._profile = profile
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"]
        command += ["--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0"]
        command += ["--force-device-scale-factor=1", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--remote-allow-origins=*", "about:blank"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._number = 0
        self.problems: list[str] = []
        """Errors and warnings of the console, exceptions, and files that did not load."""
        self.requests: list[str] = []
        """Addresses of everything that a page asked for."""
        self._socket = self._connect()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _connect(self) -> Any:
        import websocket

        deadline = time.monotonic() + PATIENCE_S
        port_file = self._profile / "DevToolsActivePort"
        while not port_file.exists() or not port_file.read_text().strip():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"Chromium did not start: exit code {self._process.poll()}")
            time.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE_S
        ) as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        return websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=PATIENCE_S)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result; RuntimeError if it is refused."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        kind, what = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.problems.append(f"{details['text']} {thrown}")
        elif kind == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            shown = [str(part.get("value", part.get("description"))) for part in what["args"]]
            self.problems.append(" ".join(shown))
        elif kind == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
        elif kind == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])

    def open(self, page: Path, ready: str = "true") -> None:
        """Load a page from disk and wait until it is complete and `ready` holds in it."""
        self.ask("Page.navigate", url=page.absolute().as_uri())
        self.wait(f"location.pathname.endsWith({json.dumps(page.name)})")
        self.wait(f"document.readyState === 'complete' && ({ready})")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, promises awaited; RuntimeError if it throws."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        wait_until(lambda: self.run(condition), condition)

    def press(self, key: str) -> None:
        """Press and release a key, such as Tab or ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "ArrowLeft": 37, "Space": 32}
        text = {"Enter": "\r", "Space": " "}.get(key)
        how = {"key": " " if key == "Space" else key, "windowsVirtualKeyCode": codes[key]}
        typed = {"text": text} if text else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **how, **typed)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **how)

    def look(self, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Set the size of the window and the system's colour scheme."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def picture(self, file: Path, whole: bool = False) -> None:
        """Save what the window shows, or the whole page, as a PNG."""
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))
