"""Videos and quotes as they are answered: :mod:`gateway.api.answers` and :mod:`gateway.api.quotes` write them."""

from gateway.api.answers import DETAIL, STATUS
from gateway.api.schemas.words import (
    Schema,
    by_name,
    deleted,
    flag,
    listed,
    many,
    maybe,
    moment,
    number,
    paged,
    record,
    ref,
    structs,
    text,
    whole,
    word,
)
from gateway.jobs.job import Outcome
from gateway.jobs.wish import Notice, Preferences, ResultLink
from gateway.money.ledger import Billing
from providers.base.order import Request, Spec

ASKED = structs(Request, Spec, Preferences, Notice, ResultLink)
"""What is answered as it is kept."""

THIRTEEN = {
    "id": text(pattern="^video_[0-9a-f]{32}$"),
    "model": text(),
    "status": word(*dict.fromkeys(STATUS.values())),
    "progress": whole(minimum=0, maximum=100),
    "created_at": moment(),
    "completed_at": maybe(moment()),
    "expires_at": maybe(moment("When the clip is removed here.")),
    "prompt": maybe(text()),
    "seconds": text("The clip's length; of an extension, with its source."),
    "size": text(examples=["1280x720"]),
    "remixed_from_video_id": maybe(text()),
    "error": maybe(ref("VideoError")),
}
"""OpenAI's fields; ``object`` is the thirteenth."""

VIDEO = {
    **THIRTEEN,
    "status_detail": word(*DETAIL.values(), "expired", about="How it stands, exactly."),
    "waiting": maybe(
        text("What it waits for beside its turn: an account that is not configured or rests for long, or room for it.")
    ),
    "started_at": maybe(moment("When its provider took it.")),
    "updated_at": moment(),
    "queue_position": maybe(
        whole("Its place in the line for a full account: 1 is next. Not told in lists, nor beyond the first hundred.")
    ),
    "eta_seconds": maybe(
        whole(
            "How many seconds after `updated_at` the end is due, with those before it in line, where enough like it "
            "were seen to end."
        )
    ),
    "provider": text("Who makes it; `sandbox` makes test clips."),
    "resolved_model": text("The model it is made with, where `model` is an alias or a wish."),
    "operation": word("create", "edit", "extend", "remix"),
    "parent_video_id": maybe(text("The video it is made from.")),
    "outputs": many(ref("VideoOutput"), "What is kept of it here."),
    "usage": ref("VideoUsage"),
    "routing": record(
        {
            "why": text("Why this offer was chosen."),
            "others": many(record({"offer": text(), "usd": number()}), "What the next best would have cost."),
        }
    ),
    "warnings": many(ref("Notice")),
    "request": ref("VideoRequest"),
    "urls": record(
        {
            **dict.fromkeys(("self", "content", "thumbnail", "cancel", "events", "attempts"), text()),
            "download": maybe(text("A signed link to the clip, or to the first of several: opened without a key.")),
        }
    ),
    "metadata": by_name(text()),
    "external_id": maybe(text()),
    "callback_url": maybe(text()),
    "user": maybe(text()),
    "key": maybe(text("The id of the key that ordered it.")),
    "cancel_requested": flag(),
    "possible_duplicate": flag(
        "Whether it was ordered once more while nobody knew whether the first order was taken (`on_unknown`): both may "
        "have to be paid for."
    ),
}

ERROR = {
    "code": text(),
    "message": text(),
    "type": text(),
    "param": maybe(text()),
    "retryable": flag("Whether the same order may do better."),
    "provider": maybe(text()),
    "provider_code": maybe(text("The provider's own word for it.")),
    "result_links": many(ref("ResultLink"), "With `result_lost`: where what was paid for still lies at its provider."),
}

OUTPUT = {
    "index": whole("Which clip of several; the first is 0."),
    "kind": word("video", "thumbnail", "spritesheet", "last_frame"),
    "url": text("Where it is downloaded with a key, below the gateway's address."),
    "link": maybe(text("A signed link: where anybody downloads it without a key, below the gateway's address.")),
    "link_expires_at": maybe(moment("When that link runs out; ask for the video again to get a new one.")),
    "content_type": text(),
    "bytes": whole(),
    "sha256": text(),
    "width": maybe(whole()),
    "height": maybe(whole()),
    "duration_seconds": maybe(number()),
    "fps": maybe(number()),
    "has_audio": maybe({"type": "boolean"}),
    "codec": maybe(text()),
    "audio_codec": maybe(text()),
    "expires_at": maybe(moment()),
}

USAGE = {
    "cost": number("In dollars, of all that was or may have been bought for it."),
    "currency": {"type": "string", "const": "USD"},
    "estimated": flag("Whether the provider may still say otherwise."),
    "billing": maybe(word(*Billing, about="What became of its money.")),
    "billed_seconds": number(),
    "unit_price": maybe(number("What each of these seconds costs, in dollars.")),
    "credits": maybe(text("The provider's own units: what it takes of a plan, where it is paid for in credits.")),
    "price_source": text("The page the price is from."),
}

INPUT = {
    "role": ASKED["Role"],
    "media_type": text(),
    "bytes": whole(),
    "sha256": text(),
    "width": whole(),
    "height": whole(),
    "name": text(),
}

ATTEMPT = {
    "id": text(),
    "number": whole("1 for the first."),
    "provider": text(),
    "model": text(),
    "outcome": word(*Outcome),
    "quoted_usd": number(),
    "intent_at": moment("When it was committed that it is bought."),
    "answered_at": maybe(moment()),
    "ended_at": maybe(moment()),
    "error": maybe(text()),
    "result_links": many(ref("ResultLink")),
}

QUOTE = {
    "offer": text("`provider:model`."),
    "provider": text(),
    "account": text(),
    "model": text(),
    "sandbox": flag("Whether it makes test clips."),
    "can": flag("Whether it can make the clip; else `reasons` says why not."),
    "place": maybe(whole("In which order it would be tried, from 1.")),
    "usd": maybe(number("What it would charge.")),
    "credits": maybe(text("The same, where it is paid for in credits of a plan.")),
    "price": maybe(ref("Price")),
    "price_source": maybe(text("The page the price is from.")),
    "fees": many(ref("Fee"), "What it costs beside its clips."),
    "expected_seconds": number("How long it usually takes."),
    "spec": maybe(ref("Spec")),
    "warnings": many(ref("Notice"), "Which pictures are converted for it (`converted`)."),
    "reasons": many(record({"field": text(), "message": text()})),
}


def _request() -> Schema:
    """Describe what was asked, every open choice made."""
    asked, made = ASKED["Request"], ASKED["Spec"]
    fields = {
        **asked["properties"],
        **made["properties"],
        "inputs": many(record(INPUT, seldom=("width", "height", "name")), "What was handed in, never its bytes."),
        "provider": ref("Preferences"),
    }
    needed = {*asked["required"], *made["properties"], "inputs", "provider"}
    return record(
        fields, seldom=[name for name in fields if name not in needed], about="What was asked, every open choice made."
    )


SCHEMAS: dict[str, Schema] = {
    **ASKED,
    "Video": record(VIDEO, object_="video"),
    "VideoError": record(ERROR, seldom=("result_links",)),
    "VideoOutput": record(OUTPUT),
    "VideoUsage": record(USAGE),
    "VideoRequest": _request(),
    "VideoList": paged("Video"),
    "VideoDeleted": deleted("video.deleted"),
    "Attempt": record(ATTEMPT, object_="video.attempt"),
    "AttemptList": listed("Attempt", has_more=flag()),
    "Quote": record(QUOTE, object_="quote"),
    "QuoteList": listed(
        "Quote",
        model=text(),
        policy=text("How an offer is chosen."),
        why=maybe(text("Why the first would be.")),
        warnings=many(ref("Notice")),
    ),
}
