"""Headless Chromium, driven over its DevTools protocol."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

TIMEOUT = 60.0  # seconds
PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


class Tab:
    """One tab: `await tab.open(url)`, then `await tab.evaluate("document.title")`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.errors: list[str] = []

    async def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result. Messages of the page's console are kept in `errors`."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState == 'complete'")

    async def evaluate(self, script: str) -> Any:
        """Return the value of a script, or of the promise that it returns. The page's content security policy does not apply to it."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a script is true. It runs again after each event of the tab, such as the end of a navigation."""
        async with asyncio.timeout(TIMEOUT):
            while not await self.evaluate(condition):
                await self._next()

    async def appears(self, selector: str) -> None:
        """Wait until an element is in the page."""
        wanted = json.dumps(selector)
        await self.evaluate(
            f"""new Promise(found => {{
                const look = () => document.querySelector({wanted}) && (watch.disconnect(), found(true));
                const watch = new MutationObserver(look);
                watch.observe(document, {{childList: true, subtree: true, attributes: true}});
                look();
            }})"""
        )

    async def click(self, selector: str) -> None:
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def resize(self, width: int, height: int) -> None:
        """Show pages as on a phone of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def start(self) -> Self:
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads((await self._socket.receive(TIMEOUT)).data)
        if message.get("method") == "Log.entryAdded":
            self.errors.append(message["params"]["entry"]["text"])
        return message


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Tab]:
    """Start Chromium with a new profile in `folder`; yield its tab."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    process = await asyncio.create_subprocess_exec(
        PROGRAM or "chromium",
        *options,
        "--disable-background-networking",
        f"--user-data-dir={folder}",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        address = await asyncio.wait_for(_debugger(process), TIMEOUT)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address}/json/list") as answer:
                tabs = [each for each in await answer.json() if each["type"] == "page"]
            async with session.ws_connect(tabs[0]["webSocketDebuggerUrl"], max_msg_size=1 << 26) as socket:
                yield await Tab(socket).start()
    finally:
        process.kill()
        await process.wait()


async def _debugger(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        if found := re.search(rb"ws://([^/]+)/", line):
            return found[1].decode()
    raise AssertionError("Chromium ended")
