"""
The sandbox: real clips rendered on this machine, for no key and no money.

It speaks a small REST dialect (see :mod:`providers._studio`, which answers it inside the process at
``sandbox://studio``), over the same wire as every provider; an account whose base URL starts with ``http``
speaks it to a server. An order is named by our own attempt, so a lost answer can be looked up.

Words in brackets in the prompt make trouble on purpose, to try an app against: ``[fail]``, ``[refuse]``,
``[throttle 3]``, ``[slow 5]``, ``[lost]`` and the others in :data:`MAGIC`, each with what it does.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from providers._pool import render_pool
from providers._studio import Studio
from providers._task import MAGIC
from providers.base.advice import retry_after
from providers.base.catalog import Refusal
from providers.base.errors import Malformed, Missing, ProviderError, Refused, Scope, Unavailable, by_status
from providers.base.order import CHOICES, FEATURES, UNSET, Order
from providers.base.provider import Provider, contents
from providers.base.reading import known, percent, told
from providers.base.task import AssetRef, Fault, State, Task, Update
from providers.base.wire import Call, Reply, Wire

# Sandbox word: ours. providers/_studio.py
STATES = {
    "queued": State.QUEUED,
    "rendering": State.RUNNING,
    "done": State.SUCCEEDED,
    "failed": State.FAILED,
    "refused": State.REFUSED,
    "cancelled": State.CANCELLED,
}

POLICY = "content_policy"

MEDIA_TYPES = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm"}
"""A clip's type, by how its address ends."""


class _Clip(Struct, frozen=True):
    """Read where one clip lies."""

    url: str
    index: int = 0


class _Error(Struct, frozen=True):
    """Read why something did not work."""

    code: str = ""
    message: str = ""


class _Answer(Struct, frozen=True):
    """Read a task, as far as it can be told from any other JSON."""

    id: str
    state: str
    progress: float | None = None
    poll_after_ms: float | None = None
    clips: tuple[_Clip, ...] = ()
    error: _Error | None = None


class _Problem(Struct, frozen=True):
    """Read an error answer."""

    error: _Error = _Error()


def encode(order: Order, data: Mapping[str, bytes] | None = None) -> dict[str, Any]:
    """
    Put an order into the sandbox's words.

    :param data: the bytes of each input, by its sha256.
    """
    request, held = order.request, data or {}
    features = {name: getattr(request, name) for name in FEATURES}
    options = request.options.get("sandbox")
    return {
        "id": order.attempt,
        "model": order.wire_name,
        "prompt": request.prompt,
        **{name: getattr(order.spec, name) for name in CHOICES},
        **{name: msgspec.to_builtins(value) for name, value in features.items() if value not in UNSET},
        **({"options": options} if options else {}),
        "inputs": [
            {
                "role": each.role,
                "media_type": each.media_type,
                "name": each.name,
                **({"purpose": each.purpose} if each.purpose else {}),
                **({} if each.weight is None else {"weight": each.weight}),
                "data": base64.b64encode(held.get(each.sha256, b"")).decode(),
            }
            for each in request.inputs
        ],
    }


def decode(body: Any) -> Update:
    """
    Read a task in the sandbox's words.

    :raises Malformed: when it is none.
    """
    answer = known(body, _Answer, "task")
    if not answer.id:
        raise Malformed("the task has no id")
    state = STATES.get(answer.state, State.UNKNOWN)
    fault = None
    if answer.error and state in {State.FAILED, State.REFUSED}:
        # What fails here is never charged.
        fault = Fault(code=answer.error.code, message=answer.error.message, billed=False)
    return Update(
        state=state,
        task=Task(answer.id),
        progress=percent(answer.progress),
        assets=tuple(_asset(clip) for clip in answer.clips),
        fault=fault,
        poll_after=None if answer.poll_after_ms is None else min(max(answer.poll_after_ms / 1000, 0.05), 60.0),
        raw_state=answer.state,
    )


def _asset(clip: _Clip) -> AssetRef:
    """Read where a clip lies and what it is."""
    kind = MEDIA_TYPES.get(clip.url.rpartition(".")[2], "video/mp4")
    return AssetRef(url=clip.url, index=clip.index, media_type=kind)


class Sandbox(Provider):
    """Order clips from the studio on this machine, or from a server that speaks like it."""

    def objections(self, order: Order) -> Iterable[Refusal]:
        """Take whatever is listed; what there is no other word for is drawn on the clip."""
        del order
        return ()

    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over, with its inputs."""
        body = msgspec.json.encode(encode(order, await contents(order)))
        reply = await wire.send(Call.post(f"{self.base_url}/tasks", body, repeatable=False))
        if reply.status in {200, 201}:
            return decode(reply.json())
        raise self.explain(reply, buying=True)

    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at a task."""
        return await self._ask("GET", task.id, wire)

    async def cancel(self, task: Task, wire: Wire) -> Update:
        """Stop a task; one that is finished stays so."""
        return await self._ask("DELETE", task.id, wire)

    async def find(self, order: Order, wire: Wire) -> Update | None:
        """Look an order up by the attempt it was made for; a task never taken is not there."""
        try:
            return await self._ask("GET", order.attempt, wire)
        except Missing as error:
            if error.code:
                return None
            raise  # a 404 that says nothing in our words may come from anybody and proves nothing

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """Turn an error answer into our words."""
        said = (told(reply.body, _Problem) or _Problem()).error
        # A 503 says that nothing was taken (providers/_studio.py).
        kind = Unavailable if reply.status == 503 else by_status(reply.status, buying=buying)
        if reply.status == 422 and said.code == POLICY:
            kind = Refused
        return kind(
            said.message or f"the sandbox answered {reply.status}",
            code=said.code,
            status=reply.status,
            retry_after=retry_after(reply.headers),
            scope=Scope.ORDER,  # trouble made on purpose is the troublemaker's alone
        )

    async def _ask(self, method: str, name: str, wire: Wire) -> Update:
        """Send a call that costs nothing about one task."""
        reply = await wire.send(
            Call(method=method, url=f"{self.base_url}/tasks/{quote(name, safe='')}", repeatable=True)
        )
        if reply.status == 200:
            return decode(reply.json())
        raise self.explain(reply)


__all__ = ["MAGIC", "Sandbox", "Studio", "decode", "encode", "render_pool"]
