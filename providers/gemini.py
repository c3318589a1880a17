"""
The official Gemini API: Veo while it was sold there, Gemini Omni by interactions since.

* Two routes: ``veo`` (v1beta, predictLongRunning, polled by the operation's name) and ``interactions`` (v1, as
  google-genai sends since 3.0; Google's own curl samples still say v1beta, the shapes are the same).
* The key goes in a header; it also opens downloads, which redirect to hosts that must not see it.
* Whatever host a clip's address names, the file is asked of the account's own, as Google's SDK does.
* Veo goes on only with a clip it made, by that clip's address; Omni also with one handed in, or by interaction.
* Callbacks are signed, and hints still: there is none for a failed Veo clip, and Omni's were reported not to come.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from providers import _interactions, _veo
from providers.base.catalog import Refusal
from providers.base.errors import ProviderError, Scope
from providers.base.hooks import ForgedError, HookCall, HookKey, check_age, check_standard, check_token, read_kid
from providers.base.objections import insist
from providers.base.options import passed, unknown_options
from providers.base.order import Mode, Order
from providers.base.provider import HookHint, Provider, contents
from providers.base.signing import HomeAuth
from providers.base.task import AssetRef, Task, Update
from providers.base.wire import Call, Reply, Wire

FILE = re.compile(r"(?:^|/)files/([\w-]+)", re.ASCII)
"""A file's name in a clip's address: ``https://.../files/6huvl6pg4pj2:download?alt=media``, ``files/6huvl6pg4pj2``."""

# https://ai.google.dev/gemini-api/docs/webhooks (2026-06-22): callbacks asked for by a call carry a JWT, signed RS256
# with a key of this list. Whom it is for and how long it is good are not said there.
SIGNATURE = "webhook-signature"
KEYS = "/.well-known/jwks.json"
TOKEN = re.compile(r"[\w-]{1,2048}\.[\w-]{1,8192}\.[\w-]{0,2048}", re.ASCII)

LABELS = {"labels": dict[str, str]}
"""What can be passed through to an interaction, as the google-genai 3.4.0 SDK declares it; to Veo nothing can."""


def encode(order: Order, data: Mapping[str, bytes] | None = None, slug: str = "gemini") -> dict[str, Any]:
    """
    Put an order into the words of its route.

    :param data: the bytes of each input, by its sha256.
    :param slug: the seller whose options are passed through.
    :raises Invalid: for what the route has no word for.
    """
    insist(objections(order, slug))
    held = data or {}
    if order.route == "interactions":
        said = _interactions.encode(order, held, delivery={"delivery": "uri"}, hook=True)
        return {**said, **passed(order.request, slug)}
    said = _veo.instance(order, held)
    if order.spec.mode is Mode.EXTEND:
        said["video"] = {"uri": _made_by_veo(order)}
    hook = {"webhookConfig": {"uris": [order.hook_url]}} if order.hook_url else {}
    return {"instances": [said], "parameters": _veo.parameters(order), **hook}


def objections(order: Order, slug: str) -> Iterator[Refusal]:
    """Name what an order asks that its route has no word for; ``slug`` is the seller whose options are passed on."""
    if order.route == "interactions":
        yield from _interactions.objections(order)
        yield from unknown_options(order.request, slug, LABELS)
        return
    yield from _veo.objections(order)
    yield from unknown_options(order.request, slug, {})
    if order.spec.mode is Mode.EXTEND and not _made_by_veo(order):
        yield Refusal("video", "Veo goes on only with a clip it made here itself")


def _made_by_veo(order: Order) -> str:
    """Say by what address Veo goes on with the source, where it made it; else nothing."""
    source = order.source()
    handle = source.handle if source else ""
    return "" if handle.startswith(_interactions.MADE) else handle


def decode(body: Any, base_url: str) -> Update:
    """
    Read an operation or an interaction.

    :raises Malformed: when it is neither.
    """
    read = _interactions.decode if isinstance(body, dict) and "status" in body else _veo.decode
    return read(body, lambda address: place(address, base_url))


def place(address: str, base_url: str) -> AssetRef:
    """Say how a clip is downloaded and, for Veo, by what address it can be gone on with."""
    found = FILE.search(address)
    url = f"{base_url}/v1beta/files/{found[1]}:download?alt=media" if found else address
    return AssetRef(url=url, handle=address)


class Gemini(Provider):
    """Order clips from the Gemini API with a key."""

    def auth(self) -> httpx.Auth:
        """Sign with the key, in a header."""
        return HomeAuth(self.base_url, {"x-goog-api-key": self.credentials.get("GEMINI_API_KEY", "")})

    def objections(self, order: Order) -> Iterator[Refusal]:
        """Name what an order asks that its route has no word for."""
        return objections(order, self.listing.slug)

    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over, media inline."""
        data = await contents(order)
        body = await asyncio.to_thread(lambda: msgspec.json.encode(encode(order, data, self.listing.slug)))
        veo = f"v1beta/models/{quote(order.wire_name, safe='')}:predictLongRunning"
        url = f"{self.base_url}/{'v1/interactions' if order.route == 'interactions' else veo}"
        reply = await wire.send(Call.post(url, body, repeatable=False, timeout=300.0))
        if reply.status == 200:
            return decode(reply.json(), self.base_url)
        error = self.explain(reply, buying=True)
        if reply.status == 404 and order.source():
            error.scope = Scope.ORDER  # it may be the clip that is gone, not the model
        raise error

    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at an operation or an interaction, told apart by name."""
        return await self._ask("GET", self._address(task), wire)

    async def cancel(self, task: Task, wire: Wire) -> Update:
        """Stop an interaction; Veo's operations cannot be stopped."""
        if "/" in task.id:
            return await super().cancel(task, wire)
        return await self._ask("POST", f"{self.base_url}/v1/{_interactions.path(task)}/cancel", wire)

    def hook_key(self, headers: Mapping[str, str]) -> HookKey | None:
        """Name the key of Google's that a callback's token says it is signed with."""
        token = HookCall(headers=headers, body=b"", now=0).header(SIGNATURE)
        kid = read_kid(token) if TOKEN.fullmatch(token) else ""
        return HookKey(self.base_url + KEYS, kid) if kid else None

    def check_hook(self, call: HookCall) -> None:
        """
        Refuse what is signed neither by Google nor with the account's secret.

        A callback a call asked for carries a token; what stands at a relay's address may not, and is then a hint.
        """
        given, secret = call.header(SIGNATURE), self.credentials.get("GEMINI_WEBHOOK_SECRET", "")
        if TOKEN.fullmatch(given):
            if at := call.header("webhook-timestamp"):
                check_age(call, at)
            check_token(call, given)
        elif secret:
            check_standard(call, secret)
        elif given or self.base_url == self.listing.base_url:
            raise ForgedError("Google signs its callbacks with a token")

    def read_hook(self, headers: Mapping[str, str], body: bytes) -> Sequence[HookHint]:
        """Read which operation or interaction a callback speaks of."""
        del headers
        return _interactions.read_hook(body)

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """Turn an error answer into our words."""
        return _veo.explain(reply, buying=buying)

    def _address(self, task: Task) -> str:
        """Say where a task is looked at."""
        if "/" in task.id:
            return f"{self.base_url}/v1beta/{quote(task.id, safe='/')}"
        return f"{self.base_url}/v1/{_interactions.path(task)}?stream=false"

    async def _ask(self, method: str, url: str, wire: Wire) -> Update:
        """Send a call that costs nothing."""
        reply = await wire.send(Call(method=method, url=url, repeatable=True))
        if reply.status == 200:
            return decode(reply.json(), self.base_url)
        raise self.explain(reply)
