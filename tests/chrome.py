"""Headless Chromium driven over its DevTools protocol: open, press keys, read, picture.

No name resolves in it but those of this machine, so a page that asks the network is seen to fail.
"""

import base64
import json
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import websocket

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
in_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update --remote-allow-origins=*
--remote-debugging-port=0"""


class Chrome:
    """One browser with one page. folder: for its profile."""

    def __init__(self, folder: Path, *, width: int = 1200, height: int = 900) -> None:
        names = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        places = [f"--user-data-dir={folder}", f"--window-size={width},{height}", names]
        self.process = subprocess.Popen(
            [str(BROWSER), *FLAGS.split(), *places, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = self._port(folder / "DevToolsActivePort")
        self.number = 0
        self.events: list[dict[str, Any]] = []
        whole = websocket.create_connection(f"ws://127.0.0.1:{port}", timeout=240)
        self.socket, self.session = whole, ""
        pages = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in pages if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _port(file: Path) -> str:
        for _ in range(1200):
            with suppress(FileNotFoundError):
                if len(lines := file.read_text().split("\n")) > 1:
                    return "".join(lines[:2])
            time.sleep(0.1)
        raise TimeoutError("Chromium did not start in two minutes")

    def __enter__(self) -> "Chrome":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(120)

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """One command of the protocol, and what it answers."""
        self.number += 1
        session = {"sessionId": self.session} if self.session else {}
        command = {"id": self.number, "method": method, "params": given} | session
        self.socket.send(json.dumps(command))
        end = time.monotonic() + 240
        while time.monotonic() < end:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, f"{method}: {message.get('error')}"
                return message["result"]
            self.events.append(message)
        raise TimeoutError(f"no answer in four minutes to {method} {str(given)[:200]}")

    def open(self, address: str) -> None:
        """Go to a page, and wait until it has loaded."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        self.wait("document.readyState == 'complete' && location.href != 'about:blank'")

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; of a promise, what it comes to."""
        done = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, f"{expression}: {done}"
        return done["result"].get("value")

    def wait(self, expression: str, *, seconds: float = 240) -> Any:
        """The value of an expression as soon as it is truthy. Errors: TimeoutError."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.js(expression):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"not in {seconds:g} s: {expression}")

    def press(self, key: str, code: int) -> None:
        """A key on whatever has the focus. code: its Windows virtual key code."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def picture(self, file: Path) -> None:
        """What the window shows, as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    @property
    def errors(self) -> list[str]:
        """What the page complained of: errors on the console, exceptions, refused requests."""
        self.js("0")
        found = []
        for event in self.events:
            about, method = event["params"], event["method"]
            if method == "Runtime.exceptionThrown":
                details = about["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            if method == "Runtime.consoleAPICalled" and about["type"] == "error":
                found.append(str([one.get("value") for one in about["args"]]))
            if method == "Log.entryAdded" and about["entry"]["level"] == "error":
                found.append(about["entry"]["text"])
        return found

    @property
    def requests(self) -> list[str]:
        """Every address that the page asked for, but its own and those inside it (data:)."""
        self.js("0")
        asked = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        addresses = [e["params"]["request"]["url"] for e in asked]
        return [one for one in addresses if not one.startswith(("data:", "file:", "blob:"))]
