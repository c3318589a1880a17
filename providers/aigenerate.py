"""
AI Generate: a reseller that speaks kie.ai's words (:mod:`providers._kie`) at its own address, and says so itself.

- Two surfaces: ``jobs`` takes a slug and an ``input``; ``veo`` takes Veo's own fields. A task is looked at where it
  was made, so :attr:`Task.data <providers.base.task.Task>` says which it was.
- ``aspect_ratio`` in ``input``, ``aspectRatio`` on ``veo``; ``callBackUrl``, with a capital B, at the root of both.
- What was charged stands in a header of the create; a failed generation is not charged.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from providers import _kie
from providers.base.catalog import Refusal
from providers.base.errors import Invalid, Malformed, Missing, ProviderError
from providers.base.hooks import ForgedError, HookCall, check_age
from providers.base.objections import insist, unsaid
from providers.base.options import passed, unknown_options
from providers.base.order import Input, Mode, Order, Role
from providers.base.provider import HookHint, Provider
from providers.base.reading import UNREADABLE
from providers.base.signing import HomeAuth
from providers.base.task import State, Task, Update, Usage
from providers.base.wire import Call, Reply, Wire

# https://docs.kie.ai/veo3-api/generate-veo-3-video, as far as we have no words of our own for it
OPTIONS: dict[str, dict[str, Any]] = {"jobs": {}, "veo": {"seeds": Any, "watermark": Any, "enableTranslation": Any}}

# https://docs.kie.ai/veo3-api/generate-veo-3-video: one picture is a first frame, two are first and last.
# Text needs no word: AI Generate's own example has none.
PICTURES = {
    Mode.FIRST_FRAME: ("FIRST_AND_LAST_FRAMES_2_VIDEO", (Role.FIRST_FRAME,)),
    Mode.FRAMES: ("FIRST_AND_LAST_FRAMES_2_VIDEO", (Role.FIRST_FRAME, Role.LAST_FRAME)),
    Mode.REFERENCE: ("REFERENCE_2_VIDEO", (Role.REFERENCE,)),
}


def encode_jobs(order: Order) -> dict[str, Any]:
    """Put an order into the jobs surface's words."""
    spec = order.spec
    said = {"prompt": order.request.prompt, "aspect_ratio": spec.aspect_ratio, "duration": spec.seconds}
    return {"model": order.wire_name, "input": said}


def encode_veo(order: Order) -> dict[str, Any]:
    """Put an order into the veo surface's words; length and resolution are not asked for there."""
    spec = order.spec
    said: dict[str, Any] = {"prompt": order.request.prompt, "model": order.wire_name, "aspectRatio": spec.aspect_ratio}
    if spec.mode in PICTURES:
        kind, roles = PICTURES[spec.mode]
        pictures = [each for role in roles for each in order.request.inputs if each.role is role]
        said |= {"generationType": kind, "imageUrls": [_link(order, each) for each in pictures]}
    return said


class Surface(NamedTuple):
    """Say how tasks are made and looked at in one place."""

    create: str
    record: str
    encode: Callable[[Order], dict[str, Any]]


# https://docs.aimarcusimage.eu and https://aimarcusimage.eu/sk/blog/google-veo-3-1-api-generate-video
SURFACES = {
    "jobs": Surface("/jobs/createTask", "/jobs/recordInfo", encode_jobs),
    "veo": Surface("/veo/generate", "/veo/record-info", encode_veo),
}


def encode(order: Order, slug: str = "aigenerate") -> dict[str, Any]:
    """
    Put an order into the words of the surface it is sold on.

    :raises Invalid: when it passes something through that is not known here, or a picture has no public address.
    """
    insist(objections(order, slug))
    body = {**passed(order.request, slug), **SURFACES[order.route].encode(order)}
    return {**body, "callBackUrl": order.hook_url} if order.hook_url else body


def objections(order: Order, slug: str) -> Iterator[Refusal]:
    """Name what an order asks that its surface has no word for; ``slug`` is the seller whose options are passed on."""
    _, roles = PICTURES.get(order.spec.mode, ("", ()))
    yield from unsaid(order, "AI Generate", roles if order.route == "veo" else ())
    yield from unknown_options(order.request, slug, OPTIONS[order.route])


def charged(headers: Mapping[str, str]) -> Decimal | None:
    """
    Read what a create charged, in credits; ``None`` where it does not say.

    Records have a ``creditsConsumed`` of their own, which counts the upstream's credits and not these.

    >>> charged({"x-ai-credits-charged": "12.5"}), charged({})
    (Decimal('12.5'), None)
    """
    said = headers.get("x-ai-credits-charged", "").strip()
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said, re.ASCII):
        return None
    return Decimal(said)


class AiGenerate(Provider):
    """Order clips from AI Generate, on whichever of its surfaces sells them."""

    def auth(self) -> httpx.Auth:
        """Sign calls to AI Generate with the account's key."""
        return HomeAuth(self.base_url, {"authorization": f"Bearer {self.credentials['AIGENERATE_API_KEY']}"})

    def objections(self, order: Order) -> Iterator[Refusal]:
        """Name what an order asks that its surface has no word for."""
        return objections(order, self.listing.slug)

    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over; it comes back as the name of a task."""
        body = msgspec.json.encode(encode(order, self.listing.slug))
        url = self.base_url + SURFACES[order.route].create
        reply = await wire.send(Call.post(url, body, repeatable=False, timeout=120.0))
        if not _kie.is_fine(reply):
            raise self.explain(reply, buying=True)
        credits_ = charged(reply.headers)
        return Update(
            state=State.QUEUED,
            task=Task(_kie.decode_created(reply.json()), {"route": order.route}),
            usage=None if credits_ is None else Usage(credits=credits_),
        )

    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at a task where it was made; one known from its callback alone is looked for on both surfaces."""
        if task.data.get("route") in SURFACES:
            return await self._look(task, wire)
        try:
            return await self._look(Task(task.id, {"route": "veo"}), wire)
        except Missing:
            return await self._look(Task(task.id, {"route": "jobs"}), wire)

    def check_hook(self, call: HookCall) -> None:
        """Refuse what the account's key for callbacks did not sign just now; without such a key each is a hint."""
        key = self.credentials.get("AIGENERATE_WEBHOOK_KEY", "")
        if not key:
            return
        check_age(call, call.header("x-webhook-timestamp"))
        names = [hint.task for hint in self.read_hook(call.headers, call.body)]
        if not names or not _kie.is_signed(call.headers, names[0], key):
            raise ForgedError("it is not signed with the key of this account")

    def read_hook(self, headers: Mapping[str, str], body: bytes) -> Sequence[HookHint]:
        """Read which task a callback speaks of."""
        del headers
        try:
            return (HookHint(_kie.decode_created(msgspec.json.decode(body))),)
        except (*UNREADABLE, Malformed):
            return ()

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """Turn an error answer into our words."""
        window = self.listing.rate.seconds if self.listing.rate else 0
        return _kie.explain(reply, "AI Generate", buying=buying, window=window)

    async def _look(self, task: Task, wire: Wire) -> Update:
        """Ask for a task's record."""
        where = SURFACES[task.data["route"]].record
        url = f"{self.base_url}{where}?taskId={quote(task.id, safe='')}"
        reply = await wire.send(Call.get(url))
        if not 200 <= reply.status < 300:
            raise self.explain(reply)
        try:
            return _kie.decode(reply.json(), task)
        except Malformed as error:
            raise self.explain(reply) from error


def _link(order: Order, picture: Input) -> str:
    """Say where AI Generate can fetch a picture."""
    if not order.links.get(picture.sha256):
        raise Invalid("AI Generate fetches pictures from a public address, and this one has none")
    return order.links[picture.sha256]
