"""
Write jobs the way clients read them: OpenAI's thirteen fields always, ours beside them; pure.

OpenAI knows four status words and its SDK's poll loop takes any other for an end, so ours are folded into
those; ``status_detail`` says it exactly.
"""

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from gateway.clips.links import Leave
from gateway.engine.findings import waiting_for
from gateway.jobs.job import Attempt, Job, State
from gateway.jobs.wish import (
    Choice,
    Rendition,
    ResultLink,
    Wish,
    read_choice,
    read_notices,
    read_problem,
    read_renditions,
    read_wish,
)
from gateway.money.billing import abandoned_of, hold_of
from gateway.money.ledger import Billing
from gateway.offers.asking import source_seconds

STATUS = {
    State.QUEUED: "queued",
    State.SUBMITTING: "queued",
    State.UNKNOWN: "in_progress",
    State.RUNNING: "in_progress",
    State.STORING: "in_progress",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}

DETAIL = {
    State.QUEUED: "queued",
    State.SUBMITTING: "submitted",
    State.UNKNOWN: "unknown",
    State.RUNNING: "generating",
    State.STORING: "downloading",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}


class Outlook(Struct, frozen=True):
    """Hold what is known of how long a job will take."""

    observed: float | None = None
    """Seconds its offer was observed to take."""
    position: int | None = None
    """Its place in the line for a full account, 1 for the first; none where it stands in none, or far back."""
    wait: float | None = None
    """Seconds after its last move until its turn should come; none where nobody can tell."""
    halted: str | None = None
    """Why nobody's turn comes, where an operator has halted purchases."""

    @property
    def place(self) -> int:
        """Put into a number what it tells of a job in line: where it stands, 0 far back, below that while halted."""
        place = self.position or 0
        return place if self.halted is None else -1 - place


UNKNOWN = Outlook()


def video(job: Job, ahead: Outlook = UNKNOWN, leave: Leave | None = None) -> dict[str, Any]:
    """
    Write one job as a Video, with what is known of how long it will take.

    :param leave: in whose name links are given out; nobody is given one otherwise.
    """
    wish = read_wish(job.wish)
    choice = read_choice(job.quote)
    request = wish.request
    kept = read_renditions(job.outputs) if job.outputs != "[]" else []
    outputs = [_output(job, each, leave) for each in kept]
    clip = next((each for each in outputs if each["kind"] == "video"), None)
    width, height = choice.spec.frame
    path = f"/v1/videos/{job.id}"
    return {
        "id": job.id,
        "object": "video",
        "model": request.model,
        "status": STATUS[job.state],
        "progress": job.progress,
        "created_at": job.created_at // 1000,
        "completed_at": whole_seconds(job.completed_at),
        "expires_at": whole_seconds(job.expires_at),
        "prompt": request.prompt,
        "seconds": str(round(choice.spec.length(request))),
        "size": f"{width}x{height}",
        "remixed_from_video_id": job.parent if job.operation == "remix" else None,
        "error": _error(job),
        "status_detail": "expired" if job.state is State.SUCCEEDED and clip is None else DETAIL[job.state],
        "waiting": waiting_for(job) if ahead.halted is None else f"purchases are halted: {ahead.halted}",
        "started_at": whole_seconds(job.started_at),
        "updated_at": job.updated_at // 1000,
        "queue_position": ahead.position,
        "eta_seconds": _eta(job, ahead),
        "provider": choice.provider,
        "resolved_model": choice.model,
        "operation": job.operation,
        "parent_video_id": job.parent,
        "outputs": outputs,
        "usage": _usage(job, wish, choice),
        "routing": {"why": choice.why, "others": [{"offer": name, "usd": usd(at)} for name, at in choice.others]},
        "warnings": msgspec.Raw(job.warnings.encode()),
        "request": {
            **msgspec.to_builtins(request),
            **asdict(choice.spec),
            "inputs": [_input(each) for each in request.inputs],
            "provider": msgspec.to_builtins(wish.preferences),
        },
        "urls": {
            "self": path,
            "content": f"{path}/content",
            "download": clip and clip["link"],
            "thumbnail": f"{path}/content?variant=thumbnail",
            "cancel": f"{path}/cancel",
            "events": f"{path}/events",
            "attempts": f"{path}/attempts",
        },
        "metadata": wish.metadata,
        "external_id": wish.external_id,
        "callback_url": wish.callback_url,
        "user": wish.user,
        "key": job.buyer,
        "cancel_requested": bool(job.cancel_requested),
        "possible_duplicate": job.abandoned is not None,
    }


def attempt(each: Attempt, job: Job) -> dict[str, Any]:
    """Write one attempt of a job; the provider's own ids stay here."""
    provider, _, model = each.offer.partition(":")
    return {
        "id": each.id,
        "object": "video.attempt",
        "number": each.number,
        "provider": provider,
        "model": model,
        "outcome": each.outcome,
        "quoted_usd": usd(each.usd_micros),
        "intent_at": whole_seconds(each.intent_at),
        "answered_at": whole_seconds(each.answered_at),
        "ended_at": whole_seconds(each.ended_at),
        "error": each.error,
        "result_links": msgspec.to_builtins(_result_links(job) if each.id == job.attempt else ()),
    }


def poll_after_ms(typical_seconds: float) -> int:
    """
    Say how long a client should wait before it asks again: a twentieth of the usual time.

    The Python SDK keeps the first answer for the whole loop and takes whole numbers only.
    """
    return int(max(250, min(10_000, typical_seconds * 50)))


def _eta(job: Job, ahead: Outlook) -> int | None:
    """Say how many seconds after ``updated_at`` the end is due, where that was observed; no guess once it is late."""
    if ahead.observed is None or job.state.final:
        return None
    if job.state is State.QUEUED:
        return None if ahead.wait is None or waiting_for(job) else round(ahead.wait + ahead.observed)
    if job.started_at is None:
        return None
    left = ahead.observed - (job.updated_at - job.started_at) / 1000
    return round(left) if left > 0 else None


def _error(job: Job) -> dict[str, Any] | None:
    """Write why a job ended badly; a cancelled one is a failed one to the SDKs."""
    if job.state is State.CANCELLED:
        return {
            "code": "cancelled",
            "message": "The video was cancelled.",
            "type": "invalid_request_error",
            "param": None,
            "retryable": False,
            "provider": None,
            "provider_code": None,
        }
    if job.state is not State.FAILED or job.error is None:
        return None
    problem = read_problem(job.error)
    return {
        "code": problem.code,
        "message": problem.message,
        "type": problem.type,
        "param": problem.param,
        "retryable": problem.retryable,
        "provider": problem.provider,
        "provider_code": problem.provider_code,
        **({"result_links": msgspec.to_builtins(problem.result_links)} if problem.result_links else {}),
    }


def _result_links(job: Job) -> tuple[ResultLink, ...]:
    """List where clips of a job still lie that were lost here."""
    if job.state is State.FAILED and job.error:
        return read_problem(job.error).result_links
    return tuple(link for each in read_notices(job.warnings) for link in each.result_links)


def _output(job: Job, kept: Rendition, leave: Leave | None) -> dict[str, Any]:
    """Write one kept rendition."""
    query = f"?variant={kept.kind}&index={kept.index}"
    linked = leave if job.state.final else None
    return {
        "index": kept.index,
        "kind": kept.kind,
        "url": f"/v1/videos/{job.id}/content{query}",
        "link": linked and linked.to(job, kept),
        "link_expires_at": linked and whole_seconds(linked.until(job.expires_at)),
        "content_type": kept.content_type,
        "bytes": kept.bytes,
        "sha256": kept.sha256,
        "width": kept.width or None,
        "height": kept.height or None,
        "duration_seconds": kept.duration_seconds,
        "fps": kept.fps,
        "has_audio": kept.has_audio,
        "codec": kept.codec,
        "audio_codec": kept.audio_codec,
        "expires_at": whole_seconds(job.expires_at),
    }


def _usage(job: Job, wish: Wish, choice: Choice) -> dict[str, Any]:
    """Write what a job costs, on whose word, and whether that is settled; what may have been bought before counts."""
    shown = _usage_of_last(job, wish, choice)
    before = abandoned_of(job)
    if before is None:
        return shown
    charged, told = before.hold.charged, before.hold.told
    more = read_choice(before.quote).usd_micros if charged is None else charged
    free = before.hold.billing is Billing.NOT_BILLED
    billing = shown["billing"]
    if not free and billing in {Billing.BILLED, Billing.NOT_BILLED}:
        billing = before.hold.billing
    cost = usd(round(shown["cost"] * 1_000_000) + more)
    return {**shown, "cost": cost, "billing": billing, "estimated": shown["estimated"] or not (free or told)}


def _usage_of_last(job: Job, wish: Wish, choice: Choice) -> dict[str, Any]:
    """Write what a job's last order costs, likewise."""
    said = msgspec.json.decode(job.usage)
    held = hold_of(job)
    charged = held.charged if held else None
    seconds = choice.spec.seconds or source_seconds(wish.request)
    clips = said.get("clips", choice.spec.n)
    counted = said.get("seconds", seconds * clips)
    credits_ = said.get("credits", _credits(choice, clips))
    free = held is not None and held.billing is Billing.NOT_BILLED
    cost = usd(choice.usd_micros if charged is None else charged)
    billed = 0 if free else counted
    return {
        "cost": cost,
        "currency": "USD",
        "estimated": not free and (held is None or charged is None or not held.told),
        "billing": held.billing if held else None,
        "billed_seconds": billed,
        "unit_price": round(cost / billed, 6) if billed else None,
        "credits": "0" if free and credits_ is not None else credits_,
        "price_source": choice.source,
    }


def _credits(choice: Choice, clips: int) -> str | None:
    """Write how many of the credits quoted so many of the clips took."""
    if choice.credits is None or clips >= choice.spec.n:
        return choice.credits
    return f"{(Decimal(choice.credits) * clips / choice.spec.n).normalize():f}"


def _input(each: Any) -> dict[str, Any]:
    """Echo an input: what it is, never its bytes."""
    shown = {"role": each.role, "media_type": each.media_type, "bytes": each.size, "sha256": each.sha256}
    return shown | {name: getattr(each, name) for name in ("width", "height", "name") if getattr(each, name)}


def usd(micros: int) -> float:
    """Write micro-dollars as dollars."""
    return micros / 1_000_000


def whole_seconds(milliseconds: int | None) -> int | None:
    """Write a time as OpenAI does: whole seconds."""
    return None if milliseconds is None else milliseconds // 1000
