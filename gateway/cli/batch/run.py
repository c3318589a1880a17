"""
Buy the lines of a batch, each once, and bring their clips home, so many at a time.

What is to be done for a line follows from its last record alone (:func:`move_of`), so that a run that was stopped
anywhere goes on where it was: a call that may have left is sent again as it was, under the key it had.
"""

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.api.forms import LONG
from gateway.cli.batch.plan import LOCAL, Line
from gateway.cli.batch.results import (
    COMPLETED,
    FAILED,
    ORDERED,
    ORDERING,
    REFUSED,
    Fault,
    Result,
    Results,
    Saved,
    Upload,
)
from gateway.cli.common import RefusedError, UsageError
from gateway.cli.gate import LATER, UNDER_WAY, Gate, Video, files_of, sum_of
from gateway.surfaces._flow import LENGTHS, MODELS

OLD_SECONDS = 48 * 3600
"""A call older than that is looked for before it is sent again: the gateway remembers keys for 72 hours."""
TAG = "reelgate_batch"
"""The metadata by which a job is found again whose key is forgotten."""
MOST_METADATA = 16
REUSED = "idempotency_key_reused"
UNKNOWN = Fault(
    code="unknown",
    message="nobody can tell whether it was ordered: look with `reelgate jobs`; --retry-failed orders it anew",
)


class Move(StrEnum):
    """Say what is to be done for a line."""

    BUY = "buy"
    REPEAT = "repeat"
    """Send the call again: it may have arrived, and then makes no second job."""
    SEARCH = "search"
    """As :attr:`REPEAT`, but the gateway may have forgotten the key: look for the job first."""
    FOLLOW = "follow"
    FETCH = "fetch"
    """The clip was made, and is not here."""
    NOTHING = "nothing"


def move_of(known: Result | None, file: str, *, retry: bool, now: float, whole: Callable[[str, Saved], bool]) -> Move:
    """
    Decide what is to be done for a line; pure.

    :param file: where its clip goes.
    :param retry: whether what failed is bought anew.
    :param whole: says whether a clip lies where it should.
    """
    if known is None:
        return Move.BUY
    if known.status == ORDERING:
        return Move.SEARCH if now - known.at > OLD_SECONDS else Move.REPEAT
    if known.status == ORDERED:
        return Move.FOLLOW
    if known.status in {FAILED, REFUSED}:
        return Move.BUY if retry else Move.NOTHING
    there = bool(known.clips) and all(map(whole, files_of(file, len(known.clips)), known.clips))
    return Move.NOTHING if there else Move.FETCH


class Quoted(Struct, frozen=True, kw_only=True):
    """Hold what a line would cost, at the offer that would make it."""

    line: Line
    call: dict[str, Any]
    """The call with every file named as the gateway names it."""
    usd: float
    offer: str
    provider: str
    spec: dict[str, Any]


class Screen(Protocol):
    """Shows how a batch goes on."""

    def moved(self, result: Result, video: Video) -> None:
        """Show how a line's video stands."""

    def ended(self, result: Result) -> None:
        """Show what became of a line."""


class Run:
    """Hold one run of a batch."""

    def __init__(self, gate: Gate, results: Results, out: Path) -> None:
        self._gate = gate
        self._results = results
        self._out = out

    async def quote(self, lines: Sequence[Line], at_once: int) -> tuple[list[Quoted], list[str]]:
        """
        Ask what lines would cost; the second list says what is wrong with the others. Nothing is bought.

        Where no offer makes several clips at a time, each is a line of its own.
        """
        models = await self._gate.call("GET", "/v1/models", patient=False)
        known = {each["id"] for each in models["data"]}
        found: dict[str, list[Quoted] | str] = {}
        uploading: dict[str, asyncio.Lock] = {}

        async def ask(line: Line) -> None:
            try:
                for sha256, path in line.pictures.items():
                    async with uploading.setdefault(sha256, asyncio.Lock()):
                        await self._upload(sha256, path)
                found[line.id] = await self._ask(line, known)
            except RefusedError as error:
                if error.status in LATER | {401, 403}:
                    raise
                found[line.id] = line.blame(error.param, error.message)

        await spread(ask, lines, at_once)
        answers = [found[line.id] for line in lines]
        faults = [each for each in answers if isinstance(each, str)]
        return [quoted for each in answers if not isinstance(each, str) for quoted in each], faults

    async def _ask(self, line: Line, known: set[str]) -> list[Quoted] | str:
        """Ask what one line would cost."""
        call = named(line.call, self._results.uploads, known)
        answer = await self._gate.call("POST", "/v1/quotes", json=call)
        whole = read_quote(line, call, answer["data"])
        if isinstance(whole, Quoted):
            return [whole]
        if line.call.get("n", 1) == 1:
            return whole
        pieces = line.split({})
        calls = [named(each.call, self._results.uploads, known) for each in pieces]
        answer = await self._gate.call("POST", "/v1/quotes", json=calls[0])
        found = [read_quote(piece, call, answer["data"]) for piece, call in zip(pieces, calls, strict=True)]
        quotes = [each for each in found if isinstance(each, Quoted)]
        return quotes or whole

    async def _upload(self, sha256: str, path: Path) -> None:
        """Give the gateway a file it has not, or no longer has."""
        kept = self._results.uploads.get(sha256)
        if kept:
            try:
                await self._gate.call("GET", f"/v1/files/{kept}")
            except RefusedError as error:
                if error.status != 404:
                    raise
            else:
                return
        try:
            file_id = await self._gate.upload(path)
        except RefusedError as error:
            raise RefusedError(error.status, error.code, f"{path.name}: {error.message}") from error
        self._results.keep(Upload(sha256=sha256, file_id=file_id))

    async def make(
        self, due: Sequence[tuple[Line, Move]], quotes: Mapping[str, Quoted], screen: Screen, at_once: int
    ) -> None:
        """
        Do what is to be done, so many lines at a time.

        :raises UsageError: when nobody answers any more, or the key is not in force; what is known by then is kept.
        """
        old = [self._results.lines[line.id] for line, move in due if move is Move.SEARCH]
        met = await self._search(old) if old else {}

        async def one(each: tuple[Line, Move]) -> None:
            line, move = each
            known = self._results.lines.get(line.id)
            if move is Move.BUY:
                result = await self._order(self._new(quotes[line.id], known))
            else:
                assert known is not None
                known = replace(known, file=line.file, where=line.where)
                if move is Move.SEARCH:
                    result = await self._found_or_ordered(known, met)
                else:
                    result = await self._order(known, again=True) if move is Move.REPEAT else known
            if result.status != REFUSED:
                result = await self._end(result, screen)
            self._results.keep(result)
            screen.ended(result)

        await spread(one, due, at_once)

    def _new(self, at: Quoted, known: Result | None) -> Result:
        """Begin a line: its key, and its call, which may cost what was quoted and no more."""
        assert self._results.batch
        line, turn = at.line, known.round + 1 if known else 1
        key = f"{self._results.batch.id}-{line.id}-{turn}"
        tagged = {**at.call.get("metadata", {}), TAG: key}
        call = {**at.call} if len(tagged) > MOST_METADATA else {**at.call, "metadata": tagged}
        if "provider" in call:  # The quote is within the ceiling it names, and takes its place.
            call["provider"] = {name: value for name, value in call["provider"].items() if name != "max_cost"}
        return Result(
            line=line.id,
            where=line.where,
            status=ORDERING,
            prompt=line.prompt,
            file=line.file,
            call={**call, "max_cost_usd": f"{at.usd:.6f}"},
            key=key,
            round=turn,
            at=time.time(),
            quoted_usd=at.usd,
        )

    async def _order(self, result: Result, *, again: bool = False) -> Result:
        """
        Send a line's call; its key is on disk before.

        A no to a call that had been sent before is not believed: the first may have been heard, and still be on its
        way to the store.
        """
        self._results.keep(result)
        try:
            headers = {"idempotency-key": result.key}
            video = await self._gate.call("POST", "/v1/videos", json=result.call, headers=headers)
        except RefusedError as error:
            if error.status in LATER | {401, 403}:
                raise
            if again or error.doubtful or error.code == REUSED:
                met = await self._search([result])
                if tag_of(result) in met:
                    return self._ordered(result, met[tag_of(result)])
                if not tag_of(result) or error.code == REUSED:
                    return replace(result, status=REFUSED, fault=UNKNOWN)
            return replace(result, status=REFUSED, fault=Fault(code=error.code, message=error.message))
        return self._ordered(result, video)

    def _ordered(self, result: Result, video: Video) -> Result:
        """Keep that the gateway has a line's job."""
        made = {"provider": video["provider"], "model": video["resolved_model"]}
        result = replace(result, status=ORDERED, video=video["id"], **made)
        self._results.keep(result)
        return result

    async def _found_or_ordered(self, result: Result, met: Mapping[str, Video]) -> Result:
        """Go on with the job an earlier call made; where there is none, order under a key of today."""
        if tag_of(result) in met:
            return self._ordered(result, met[tag_of(result)])
        if not tag_of(result):
            return replace(result, status=REFUSED, fault=UNKNOWN)
        return await self._order(replace(result, key=f"{tag_of(result)}-{secrets.token_hex(3)}", at=time.time()))

    async def _search(self, results: Sequence[Result]) -> dict[str, Video]:
        """Look for the jobs of calls whose answers were lost, by what they carry."""
        since = min(each.at for each in results) - 3600
        met: dict[str, Video] = {}
        async for video in self._gate.items():
            if video["created_at"] < since:
                break
            if TAG in video["metadata"]:
                met[video["metadata"][TAG]] = video
        return met

    async def _end(self, result: Result, screen: Screen) -> Result:
        """Follow a line's job to its end, and bring its clips home."""
        try:
            async for video in self._gate.follow(result.video):
                screen.moved(result, video)
            if video["status"] in UNDER_WAY:
                raise UsageError(f"{result.video} was not followed to its end")
            usage = video["usage"]
            result = replace(
                result,
                provider=video["provider"],
                model=video["resolved_model"],
                charged_usd=usage["cost"],
                billing=usage["billing"] or "",
                fault=None,
            )
            if video["status"] != "completed":
                error = video["error"]
                return replace(result, status=FAILED, fault=Fault(code=error["code"], message=error["message"]))
            result = replace(result, status=COMPLETED)
            return replace(result, clips=await self._fetch(result, video))
        except RefusedError as error:
            if error.status in LATER | {401, 403}:
                raise
            # What is gone for good can only be bought again, on a person's word; the rest is fetched another time.
            status = FAILED if error.status in {404, 410} else COMPLETED
            return replace(result, status=status, fault=Fault(code=error.code, message=error.message))

    async def _fetch(self, result: Result, video: Video) -> tuple[Saved, ...]:
        """
        Download the clips of a finished job.

        :raises RefusedError: when they are no longer kept.
        """
        made = [each for each in video["outputs"] if each["kind"] == "video"]
        if not made:
            raise RefusedError(410, "video_expired", f"{result.video} was made, but is no longer kept")
        saved = []
        for file, clip in zip(files_of(result.file, len(made)), made, strict=True):
            await self._gate.save(result.video, clip, self._out / file)
            saved.append(Saved(file=file, bytes=clip["bytes"], sha256=clip["sha256"]))
        return tuple(saved)


def named(call: Mapping[str, Any], uploads: Mapping[str, str], models: set[str]) -> dict[str, Any]:
    """Name every file of this machine as the gateway does, and a model useapi's scripts name by ours; pure."""

    def source(value: Any) -> Any:
        if isinstance(value, list):
            return [source(each) for each in value]
        if isinstance(value, dict) and LOCAL in value:
            return {**{name: each for name, each in value.items() if name != LOCAL}, "file_id": uploads[value[LOCAL]]}
        if isinstance(value, dict):  # What shows an element are lists in it.
            return {name: source(each) if isinstance(each, list) else each for name, each in value.items()}
        return value

    out = {name: source(value) if name in LONG else value for name, value in call.items()}
    model = out.get("model")
    if isinstance(model, str) and model not in models and model in MODELS:
        out["model"] = MODELS[model]
        if not {"seconds", "duration", "video"} & out.keys():
            out["seconds"] = LENGTHS[MODELS[model]]
    return out


def read_quote(line: Line, call: dict[str, Any], answers: Sequence[Mapping[str, Any]]) -> Quoted | str:
    """Read the quote of the offer that would make a line, or why none can; pure."""
    first = next((each for each in answers if each["place"] == 1), None)
    if first is None:
        reasons = [reason for each in answers for reason in each["reasons"]]
        if not reasons:
            return line.blame("model", "no account sells it")
        (field, _), *_ = Counter(reason["field"] for reason in reasons).most_common(1)
        told = dict.fromkeys(reason["message"] for reason in reasons if reason["field"] == field)
        return line.blame(field, f"no offer can do this: {'; '.join([*told][:3])}")
    return Quoted(
        line=line, call=call, usd=first["usd"], offer=first["offer"], provider=first["provider"], spec=first["spec"]
    )


def tag_of(result: Result) -> str:
    """Say by what a line's job is found again; the empty text where its call had no room for that."""
    return str(result.call.get("metadata", {}).get(TAG, ""))


async def spread(work: Callable[[Any], Any], items: Sequence[Any], at_once: int) -> None:
    """
    Do the same to every item, so many at a time, in their order; the first mistake ends it.

    :raises UsageError: that mistake.
    """
    waiting = deque(items)

    async def hand() -> None:
        while waiting:
            await work(waiting.popleft())

    try:
        async with asyncio.TaskGroup() as hands:
            for _ in range(min(at_once, len(items))):
                hands.create_task(hand())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def lies_in(out: Path) -> Callable[[str, Saved], bool]:
    """Say how to look whether a clip lies in a folder as it was written."""

    def whole(file: str, clip: Saved) -> bool:
        path = out / file
        return path.is_file() and path.stat().st_size == clip.bytes and sum_of(path) == clip.sha256

    return whole
