"""A headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
START_S, ANSWER_S = 60, 60


class Browser:
    """One page in one browser; what goes wrong in it is kept in `faults`, what it fetches in `requests`."""

    def __init__(self, *, width: int = 1200, height: int = 800) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._loop = asyncio.new_event_loop()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._socket = self._loop.run_until_complete(self._connect())
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
        self._profile.cleanup()

    async def _connect(self) -> WebSocketClientConnection:
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + START_S
        while not (port_file.exists() and len(lines := port_file.read_text().splitlines()) == 2):
            if time.monotonic() > deadline:
                raise TimeoutError("Chromium did not start")
            await asyncio.sleep(0.05)
        browser = await websocket_connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}", max_message_size=2**30)
        self._socket = browser
        targets = (await self._ask("Target.getTargets", None, {}))["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        browser.close()
        return await websocket_connect(f"ws://127.0.0.1:{lines[0]}/devtools/page/{page}", max_message_size=2**30)

    async def _ask(self, method: str, _: None, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.write_message(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            text = await asyncio.wait_for(asyncio.ensure_future(self._socket.read_message()), ANSWER_S)
            if text is None:
                raise ConnectionError("Chromium is gone")
            message = json.loads(text)
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.faults.append(json.dumps(params["exceptionDetails"])[:500])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.faults.append(json.dumps(params["args"])[:500])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.faults.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self._loop.run_until_complete(self._ask(method, None, params))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition}; {self.faults}")
            time.sleep(0.05)

    def open(self, url: str) -> None:
        """Go to a page and wait until its map is drawn."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")
        self.settle()

    def settle(self) -> None:
        """Wait until the map has drawn what it was last asked for."""
        self.wait(
            "document.getElementById('map')?.dataset.state === 'ready'"
            " && !!document.getElementById('status').textContent"
        )

    def press(self, key: str, code: str = "", text: str = "") -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            number = {"Tab": 9, "Enter": 13, " ": 32}.get(key, 0)
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=code or key, windowsVirtualKeyCode=number, **typed
            )

    def point(self, x: float, y: float, kind: str = "mouseMoved", **params: Any) -> None:
        """Move, press or release the mouse."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **params)

    def emulate_scheme(self, scheme: str) -> None:
        """Prefer light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Save what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
