"""Laws of pages, in a real browser: ours draws every operation and asks nobody else; others order nothing here."""

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.server import Server, eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip


LOADED = "document.readyState === 'complete' || new Promise(done => addEventListener('load', done))"
"""Waits until a page is whole."""


class Browser:
    """Speak the DevTools protocol to one page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.asked: list[str] = []
        """Every address the page asked for."""
        self.errors: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        """Call one method and wait for its answer."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async for message in self._socket:
            said = json.loads(message.data)
            if said.get("method") == "Network.requestWillBeSent":
                self.asked.append(said["params"]["request"]["url"])
            if said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                entry = said["params"]["entry"]
                self.errors.append(f"{entry['text']} {entry.get('url')}")
            if said.get("id") == number:
                return said["result"]
        raise AssertionError("the browser hung up")

    async def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """Start a browser of its own and open a page in it."""
    assert CHROMIUM is not None
    words = [*FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = await asyncio.create_subprocess_exec(CHROMIUM, *words, stderr=asyncio.subprocess.DEVNULL)
    ports = folder / "DevToolsActivePort"
    try:
        await asyncio.to_thread(eventually, lambda: ports.exists() and ports.read_text().count("\n"))
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            base = f"http://127.0.0.1:{ports.read_text().split()[0]}"
            async with session.get(f"{base}/json/list") as answer:
                page = next(each for each in await answer.json() if each["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=2**26) as socket:
                yield Browser(socket)
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not here: apt-get install chromium")
async def test_the_page_draws_every_operation_offline(server: Server, tmp_path: Path) -> None:
    """Every operation of the document is on the page, nothing failed, and only the gateway was asked."""
    document = server.get("/openapi.json").json()
    async with browser(tmp_path) as page:
        for domain in ("Network", "Log", "Page", "Runtime"):
            await page.call(f"{domain}.enable")
        await page.call("Page.navigate", url=f"{server.url}/docs")
        text = ""
        async with asyncio.timeout(30):
            while "/v1/videos/{video_id}/content" not in text:
                await asyncio.sleep(0.1)
                text = await page.evaluate("document.querySelector('rapi-doc')?.shadowRoot?.textContent ?? ''")
    for path in document["paths"]:
        assert path in text
    assert [url for url in page.asked if not url.startswith((server.url, "data:"))] == []
    assert page.errors == []


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not here: apt-get install chromium")
async def test_only_our_own_page_orders_without_a_key(server: Server, tmp_path: Path) -> None:
    """From the docs page every call can be tried; the same form from a page of another origin buys nothing."""
    send = """(() => {
        const form = new FormData();
        Object.entries({model: 'sandbox/demo', prompt: %r, seconds: '1', resolution: '360p'}).forEach(
            ([name, value]) => form.append(name, value));
        return fetch(%r, {method: 'POST', mode: 'no-cors', body: form}).then(a => a.status + a.type, String);
    })()"""
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    heard = []
    async with browser(tmp_path) as page:
        await page.call("Page.enable")
        for at, prompt in ((f"{server.url}/docs", "of our own page"), (f"{elsewhere}/health/live", "of another page")):
            await page.call("Page.navigate", url=at)
            await page.call("Runtime.evaluate", expression=LOADED, awaitPromise=True)
            assert at == await page.evaluate("location.href")
            heard.append(await page.evaluate(send % (prompt, f"{server.url}/v1/videos")))
    assert ["200basic", "0opaque"] == heard
    made = {each["prompt"] for each in server.get("/v1/videos").json()["data"]}
    assert {"of our own page"} == made & {"of our own page", "of another page"}
