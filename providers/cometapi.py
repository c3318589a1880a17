"""
Order clips from CometAPI, over the three ways it has sold Veo by.

- ``videos``: the shared ``/v1/videos``, multipart with every value a string; the link it gives is temporary and lies
  anywhere, so what the listing does not name is fetched from ``/v1/videos/{id}/content``.
- ``chat``: ``/v1/chat/completions``, answered over minutes with a log that ends in a link (:mod:`providers._chat`).
  A stream that breaks off is followed at asyncdata.net, a third party: it never sees the key.
- ``veo``: the older ``/veo/v1``. It wraps its answers, and ``videos`` sometimes does too (:mod:`providers._newapi`).
- No answer says what was billed.
- A wrong path answers 301 or HTML.
"""

import contextlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from msgspec.structs import replace

from providers._asyncdata import decode_source
from providers._chat import DATA_HOST, ROLES, Reading, decode_chat, encode_chat
from providers._newapi import Wrong, asset_at, decode, read_problem
from providers.base.advice import retry_after
from providers.base.catalog import Refusal
from providers.base.errors import (
    Exhausted,
    Indeterminate,
    Invalid,
    Malformed,
    Missing,
    ProviderError,
    Scope,
    Unavailable,
    by_status,
)
from providers.base.objections import insist, unsaid
from providers.base.options import passed, unknown_options
from providers.base.order import Order, Role
from providers.base.provider import Provider, contents
from providers.base.signing import HomeAuth
from providers.base.task import AssetRef, State, Task, Update
from providers.base.wire import Call, Download, Reply, Wire

# Codes that say more than the status they come with; 200 is an error inside an answer.
# invalid_request: apidoc.cometapi.com/errors/error-codes-handling, "500 with error.code: invalid_request: A malformed
# request surfaced through a server-status response", not to be retried; below 500 the status says it already.
# insufficient_user_quota: callers of this provider; stock new-api checks the balance before it passes an order on.
CODES: dict[str, tuple[type[ProviderError], frozenset[int]]] = {
    "invalid_request": (Invalid, frozenset({200, 500})),
    "insufficient_user_quota": (Exhausted, frozenset({200, 400, 402, 403, 429})),
}

# Documented parameters that no request of ours has a word for; a client may pass them on. max_tokens: the chat's own.
PASSED: dict[str, dict[str, Any]] = {"chat": {"max_tokens": Any}}

SHAPED = frozenset({"omni-fast"})
"""Models of ``videos`` that take a ratio and a resolution, not a size. apidoc.cometapi.com/api/video/omni/create"""

CHAT_SILENCE = 900.0
"""Seconds a chat may be silent: one that is not streamed answers when the clip is made."""
ERROR_MOST = 65_536


def encode_form(order: Order) -> dict[str, str]:
    """Put an order into the fields of ``POST /v1/videos``. apidoc.cometapi.com/api/video/veo3"""
    spec = order.spec
    wide, high = spec.frame
    fields = {"model": order.wire_name, "prompt": order.request.prompt, "seconds": str(spec.seconds)}
    if order.wire_name in SHAPED:
        return {**fields, "aspect_ratio": spec.aspect_ratio, "resolution": spec.resolution}
    return {**fields, "size": f"{wide}x{high}"}


def encode_veo(order: Order) -> dict[str, Any]:
    """Put an order into the words of ``POST /veo/v1/video/create``."""
    request, spec = order.request, order.spec
    return {
        "model": order.wire_name,
        "prompt": request.prompt,
        **({} if request.enhance_prompt is None else {"enhance_prompt": request.enhance_prompt}),
        # The page's own sample leaves the ratio out, and gets 16:9.
        **({} if spec.aspect_ratio == "16:9" else {"aspect_ratio": spec.aspect_ratio}),
    }


class CometApi(Provider):
    """Order clips from CometAPI; an offer's ``route`` says which way."""

    def auth(self) -> httpx.Auth:
        """Sign with the key, as a bearer token."""
        return HomeAuth(self.base_url, {"authorization": f"Bearer {self.credentials.get('COMETAPI_KEY', '')}"})

    def objections(self, order: Order) -> Iterator[Refusal]:
        """Name what an order asks that its route has no word for."""
        taken = {"chat": ROLES.get(order.spec.mode, ()), "veo": ()}.get(order.route, (Role.FIRST_FRAME,))
        yield from unsaid(order, "CometAPI", taken)
        yield from unknown_options(order.request, self.listing.slug, PASSED.get(order.route, {}))

    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over, with its inputs; a chat is read to its end."""
        insist(self.objections(order))
        data = await contents(order)
        if order.route == "chat":
            return await self._chat(encode_chat(order, data, passed(order.request, self.listing.slug)), wire)
        if order.route == "veo":
            call = self._post("/veo/v1/video/create", msgspec.json.encode(encode_veo(order)))
        else:
            call = self._post("/v1/videos", *_multipart(order, data))
        reply = await wire.send(call)
        if reply.status in {200, 201, 202}:
            with contextlib.suppress(Malformed):
                return self._placed(decode(reply.json(), route=order.route))
        raise self.explain(reply, buying=True)

    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at a task; a chat's only where its stream broke off."""
        route = task.data.get("route")
        if route == "chat":
            return await self._follow(task, wire)
        path = "/veo/v1/video/query" if route == "veo" else "/v1/videos"
        reply = await wire.send(Call.get(f"{self.base_url}{path}/{quote(task.id, safe=':')}"))
        if reply.status == 200:
            return self._placed(decode(reply.json(), task))
        raise self.explain(reply)

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """Turn an error answer into our words."""
        wrong = read_problem(reply.body)
        kind, statuses = CODES.get(wrong.word, (ProviderError, frozenset()))
        if reply.status not in statuses:
            kind = by_status(reply.status, buying=buying)
        return kind(
            wrong.message or f"CometAPI answered {reply.status}",
            code=wrong.word,
            status=reply.status,
            retry_after=retry_after(reply.headers),
            # A 403 is as often about one order: "Remove unsupported fields", or a firewall that dislikes the prompt.
            # apidoc.cometapi.com/guides/error-codes-and-retry-strategy, apidoc.cometapi.com/support/help-center
            scope=Scope.ORDER if reply.status == 403 and kind is not Exhausted else None,
        )

    async def _chat(self, body: Mapping[str, Any], wire: Wire) -> Update:
        """Order by chat, and listen to the end."""
        call = self._post("/v1/chat/completions", msgspec.json.encode(body), timeout=CHAT_SILENCE)
        reading, lost = Reading(), None
        async with wire.stream(call) as answer:
            if answer.status != 200:
                raise self.explain(await _whole(answer), buying=True)
            try:
                async for chunk in answer.chunks:
                    reading.feed(chunk)
                reading.end()
            except ProviderError as error:
                lost = error
        wrong = reading.error
        if wrong is not None and wrong.word in CODES and not reading.log().reason:
            # Turned down before a word was said: as good as a status.
            raise self.explain(Reply(status=200, headers={}, body=msgspec.json.encode({"error": wrong})), buying=True)
        update = decode_chat(reading)
        if update is not None:
            return update
        wrong = wrong or Wrong(message="the answer ended without saying how")
        raise lost or Indeterminate(wrong.message or "the answer is an error", code=wrong.word, status=200)

    async def _follow(self, task: Task, wire: Wire) -> Update:
        """Look for what became of a chat."""
        url = task.data.get("url")
        if isinstance(url, str):
            return Update(state=State.SUCCEEDED, task=task, assets=(asset_at(url),))
        reply = await wire.send(Call.get(f"https://{DATA_HOST}/source/{quote(task.id, safe=':')}"))
        if reply.status == 200:
            return decode_source(reply.body, task)
        # Not the provider's answer, so nothing to do with its account.
        kind = Missing if reply.status in {404, 410} else Unavailable
        raise kind(f"{DATA_HOST} answered {reply.status}", status=reply.status)

    def _post(self, path: str, body: bytes, kind: str = "application/json", *, timeout: float = 120.0) -> Call:
        """Write a call that buys."""
        return Call.post(self.base_url + path, body, kind, repeatable=False, timeout=timeout)

    def _placed(self, update: Update) -> Update:
        """Fetch a clip from its link where the listing knows the host, and else from the provider's own address."""
        if update.state is not State.SUCCEEDED or update.task.data.get("route") == "veo":
            return update
        asset = next(iter(update.assets), AssetRef())
        if self.listing.fetches(_host(asset.url), base_url=self.base_url):
            return update
        content = f"{self.base_url}/v1/videos/{quote(update.task.id, safe=':')}/content"
        return replace(update, assets=(replace(asset, url=content),))


def _multipart(order: Order, data: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Write the form of ``POST /v1/videos`` and its kind, the same for the same order."""
    fields = [(name, (None, value.encode(), None)) for name, value in encode_form(order).items()]
    # The page of 2026-03 took a second file as the last frame; today's knows one, so frames are not sold.
    files = [
        ("input_reference", (f"first.{each.media_type.partition('/')[2]}", data[each.sha256], each.media_type))
        for each in order.request.inputs
        if each.role is Role.FIRST_FRAME
    ]
    kind = f"multipart/form-data; boundary={sha256(order.attempt.encode()).hexdigest()}"
    form = httpx.Request("POST", "https://form.invalid", headers={"content-type": kind}, files=[*fields, *files])
    return form.read(), kind


async def _whole(answer: Download) -> Reply:
    """Read the answer to a call that was turned down; its status counts even where the rest is lost."""
    body = bytearray()
    with contextlib.suppress(ProviderError):
        async for chunk in answer.chunks:
            body += chunk
            if len(body) > ERROR_MOST:
                break
    return Reply(status=answer.status, headers=answer.headers, body=bytes(body))


def _host(url: str) -> str:
    """Read the host of an address somebody else wrote; none where it is not to be fetched from."""
    try:
        read = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return ""
    return read.host if read.scheme == "https" else ""
