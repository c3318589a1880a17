"""``reelgate jobs`` and ``reelgate jobs show``: what was ordered, where, and for how much, from a running gateway."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gateway.cli.common import DEFAULT_URL, Url, UsageError, call, client, items, moment, plain
from gateway.cli.gate import UNDER_WAY, Video
from gateway.cli.store import now
from gateway.cli.watch import price

UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
WIDE = 150
"""From how many columns on a video is one line."""
WORDS = frozenset({
    "queued", "in_progress", "completed", "failed", "submitted", "unknown", "generating", "downloading", "cancelled",
    "expired",
})  # fmt: skip
"""What ``status`` and ``status_detail`` can be."""


def list_(
    *,
    status: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    provider: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    model: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    key: str = "",
    since: str = "",
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 20,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """
    List the videos of your API key's tenant, newest first.

    Parameters
    ----------
    status
        queued, in_progress, completed or failed; or exactly: submitted, unknown, generating, downloading, cancelled,
        expired. Several times for several, like the next two.
    provider
        Who makes it.
    model
        The model, as it was asked for or as it was chosen.
    key
        The id of the key that ordered it (reelgate keys list).
    since
        A day (UTC), 2026-11-20, or how long ago: 30m, 12h, 7d.
    limit
        How many to show.
    json_
        Print them as the gateway shows them.
    url
        The gateway.
    """
    strangers = sorted(set(status) - WORDS)
    if strangers:
        raise UsageError(f"--status {strangers[0]} is no status; there are {', '.join(sorted(WORDS))}")
    asked: dict[str, Any] = {"status": status, "provider": provider, "model": model, "limit": min(100, limit + 1)}
    asked |= {"key": key} if key else {}
    asked |= {"since": max(0, since_of(since, now() // 1000))} if since else {}
    with client(url) as http:
        found: list[Video] = list(islice(items(http, "/v1/videos", **asked), limit + 1))
    more, found = len(found) > limit, found[:limit]
    if json_:
        print(json.dumps(found, indent=2))
        return
    console = Console()
    console.print(jobs_table(found, now() // 1000, console.width))
    cost = sum(round(each["usage"]["cost"] * 1_000_000) for each in found) / 1_000_000
    told = f"{len(found)} shown, ${cost:.4f}{'; more with --limit' if more else ''}"
    console.print(told if found else "none", highlight=False)


def show(
    id_: Annotated[str, Parameter(name="ID")],
    /,
    *,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """
    Show one video: what was asked, every order made for it, what it cost, and on whose word.

    Parameters
    ----------
    id_
        The video's id.
    json_
        Print the video and its attempts as the gateway shows them.
    url
        The gateway.
    """
    with client(url) as http:
        video = call(http, "GET", f"/v1/videos/{id_}")
        attempts = call(http, "GET", f"/v1/videos/{id_}/attempts")["data"]
    if json_:
        print(json.dumps({**video, "attempts": attempts}, indent=2))
        return
    console = Console()
    table = Table.grid(Column(no_wrap=True, style="dim"), Column(overflow="fold"), padding=(0, 2))
    for name, value in about(video):
        table.add_row(name, escape(plain(value)))
    console.print(table)
    console.print(attempts_table(attempts))


def since_of(text: str, now: int) -> int:
    """
    Read a day, or how long ago.

    >>> since_of("2h", 10_000)
    2800

    :raises UsageError: when it is neither.
    """
    ago = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if ago:
        return now - int(ago[1]) * UNITS[ago[2]]
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise UsageError("--since is a day, 2026-11-20, or how long ago: 30m, 12h, 7d") from error


def jobs_table(videos: list[Video], now: int, width: int) -> Table:
    """Draw videos: one a line where there is room, else stacked, so that an id is never cut."""
    rows = [
        (
            each["id"],
            f"{each['provider']}:{each['resolved_model']}",
            escape(plain(each["prompt"] or "")),
            f"{each['status_detail']} {each['progress']:.0f}%"
            if each["status"] in UNDER_WAY
            else each["status_detail"],
            f"{age_of(now - each['created_at'])} ago",
            price(each),
            f"{each['seconds']} s {each['size']}",
        )
        for each in videos
    ]
    if width >= WIDE:
        table = Table("id", "offer", "prompt", "status", "age", "cost", "clip", box=SIMPLE_HEAD)
        for column in table.columns:
            column.no_wrap = True
        table.columns[2].ratio, table.columns[2].overflow = 1, "ellipsis"
        for row in rows:
            table.add_row(*row)
        return table
    table = Table(Column("video", ratio=1, no_wrap=True), "status", "cost", box=SIMPLE_HEAD, leading=1)
    for id_, offer, prompt, status, age, cost, clip in rows:
        table.add_row(
            f"{id_}\n{offer}\n[dim]{prompt}[/dim]", f"{status}\n[dim]{age}[/dim]", f"{cost}\n[dim]{clip}[/dim]"
        )
    return table


def age_of(seconds: int) -> str:
    """
    Write how long ago something was.

    >>> age_of(7300)
    '2h'
    """
    for unit in ("w", "d", "h", "m"):
        if seconds >= 2 * UNITS[unit] or (unit == "m" and seconds >= UNITS[unit]):
            return f"{seconds // UNITS[unit]}{unit}"
    return f"{max(0, seconds)}s"


def about(video: Video) -> Iterator[tuple[str, str]]:
    """Say what there is to say of a video, a line each."""
    usage, routing, asked = video["usage"], video["routing"], video["request"]
    yield "id", video["id"]
    yield "status", f"{video['status_detail']} {video['progress']:.0f}%"
    yield from _trouble(video)
    yield "prompt", video["prompt"] or ""
    yield "asked for", f"{video['model']} by key {video['key']}"
    yield "offer", f"{video['provider']}:{video['resolved_model']} ({routing['why']})"
    yield "clip", f"{asked['mode']}, {asked['n']} x {video['seconds']} s {video['size']}"
    counted = "not charged" if usage["billing"] == "not_billed" else "as the provider counted"
    yield "cost", f"{price(video)}, {'as quoted' if usage['estimated'] else counted}; {usage['price_source']}"
    for other in routing["others"]:
        yield "instead of", f"{other['offer']} ${other['usd']:.4f}"
    for name in ("created_at", "started_at", "completed_at", "expires_at"):
        if video[name]:
            yield name.removesuffix("_at"), moment(video[name])
    for each in video["outputs"]:
        if each["kind"] == "video":
            yield "file", f"{each['bytes']:,} bytes {each['content_type']}, sha256 {each['sha256']}"
    for each in video["warnings"]:
        yield "note", each["details"]
    yield from _lost(video)


def _trouble(video: Video) -> Iterator[tuple[str, str]]:
    """Say what a video waits for, or why it was not made."""
    if video.get("waiting"):
        yield "waiting", video["waiting"]
    if video["error"]:
        yield "error", f"{video['error']['code']}: {video['error']['message']}"


def _lost(video: Video) -> Iterator[tuple[str, str]]:
    """Say where clips still lie that could not be kept."""
    for each in [video["error"] or {}, *video["warnings"]]:
        for link in each.get("result_links", ()):
            yield "lies at", f"{link['url']} until {moment(link['expires_at'])}"


def attempts_table(attempts: list[dict[str, Any]]) -> Table:
    """Draw the orders made for a video, first to last."""
    table = Table("#", Column("offer", overflow="fold"), "outcome", "quoted", "ordered", "took", "why", box=SIMPLE_HEAD)
    for each in attempts:
        table.add_row(
            str(each["number"]),
            f"{each['provider']}:{each['model']}",
            each["outcome"],
            f"${each['quoted_usd']:.4f}",
            moment(each["intent_at"])[11:],
            f"{each['ended_at'] - each['intent_at']} s" if each["ended_at"] else "",
            escape(plain(each["error"] or "")),
        )
    return table
