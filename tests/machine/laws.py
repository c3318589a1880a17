"""The invariants of a job's life, checked after every commit and at the end."""

import hashlib
import math
import sqlite3
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.clips.parts import discard
from gateway.events.events import ENDS, SETTLED
from gateway.jobs.job import FINAL, MOVES, State
from gateway.jobs.wish import Rendition
from gateway.store.database import bodies
from tests.machine.receiver import ENDPOINT, GAPS, Heard
from tests.machine.upstream import SECRET, Made, clip_of

OPEN = {"intent", "unknown", "accepted"}
UNTRACED = {"failed", "cancelled", "unknown", "abandoned"}
"""What may be said of an order whose task nobody knows."""
OWNERLESS = 30.0
"""Seconds a lease may have run out before somebody takes the job over."""


class BrokenLawError(SystemExit):
    """An invariant does not hold; nothing catches it on its way out, as little as the end of a program."""


class Laws:
    """Watch a database from outside, as an auditor would, with a connection of its own."""

    def __init__(self, path: Path, media: Path, limit: int | None) -> None:
        self._path = path
        self._limit = limit
        self._media = media
        self._seen: dict[str, sqlite3.Row] = {}
        self._tries: dict[str, dict[str, str]] = {}
        self.bought: dict[str, list[Made]] = {}
        """Purchases by job, as the providers know them."""
        self.acknowledged: dict[str, str | None] = {}
        """Key by job: whatever a client was told is its."""
        self.heard: dict[tuple[str, str], bool] = {}
        """Whether a message was taken, by its id and the address it came to."""
        self._events: dict[tuple[str, str], str] = {}
        self.moves: Counter[str] = Counter()
        self.unknown: set[str] = set()
        """Jobs that were shown as unknown at some time."""

    def connect(self) -> None:
        self._db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=0)
        self._db.row_factory = sqlite3.Row
        self._version = 0

    def close(self) -> None:
        self._db.close()

    def check_order(self, slug: str, attempt: str) -> None:
        """I0: an order leaves only after the intent to buy it is on disk."""
        row = self._db.execute("SELECT job, outcome FROM attempts WHERE id = ?", (attempt,)).fetchone()
        demand(row is not None, "I0", f"{slug} was sent {attempt}, which is on no disk")
        demand(row["outcome"] in {"intent", "unknown"}, "I0", f"{slug} was sent {attempt}, which is {row['outcome']}")

    def check_bought(self, made: Made, now: float) -> None:
        """
        I1: one job, one purchase, and another only once the one before has failed and costs nothing, or was given up.
        """
        query = "SELECT job, abandoned FROM attempts JOIN jobs ON jobs.id = attempts.job WHERE attempts.id = ?"
        row = self._db.execute(query, (made.marker,)).fetchone()
        demand(row is not None, "I2", f"{made.id} was bought for nobody")
        before = self.bought.setdefault(row["job"], [])
        count = 1 + sum(not each.is_vain(now) for each in before)
        demand(count <= (2 if row["abandoned"] else 1), "I1", f"{row['job']} was bought {count} times")
        before.append(made)

    def check_heard(self, heard: Heard) -> None:
        """I8: nobody hears of what is on no disk, nor of one end under two names."""
        row = self._db.execute("SELECT state, hold, abandoned FROM jobs WHERE id = ?", (heard.job,)).fetchone()
        demand(row is not None, "I8", f"{heard.url} heard of {heard.job}, which is on no disk")
        told = {ENDS.get(State(row["state"])), *(() if doubtful(row) else (SETTLED,))}
        demand(heard.type in told, "I8", f"{heard.url} heard {heard.type} of {heard.job}, which is {row['state']}")
        event = self._events.setdefault((heard.job, heard.type), heard.event)
        demand(event == heard.event, "I8", f"the end of {heard.job} has two names: {event} and {heard.event}")
        key = heard.event, heard.url
        self.heard[key] = self.heard.get(key, False) or heard.good

    def untold(self) -> int:
        """Count what is still to be told."""
        (count,) = self._db.execute("SELECT count(*) FROM deliveries WHERE state = 'pending'").fetchone()
        return int(count)

    def _check_announced(self, job: Any) -> None:
        """I8: an end and whom it is told are on disk together."""
        wish = msgspec.json.decode(job["wish"])
        ends = "SELECT endpoint, url FROM deliveries WHERE job = ? AND type <> ?"
        rows = self._db.execute(ends, (job["id"], SETTLED)).fetchall()
        found = sorted(row["endpoint"] or row["url"] for row in rows)
        wanted = sorted([ENDPOINT, *([wish["callback_url"]] if wish.get("callback_url") else [])])
        demand(found == wanted, "I8", f"{job['id']} has ended, and is told to {found} in place of {wanted}")

    def _check_told(self) -> None:
        """I8, when all is over: every end was heard by everybody, or written down as told in vain."""
        for row in self._db.execute(
            "SELECT d.*, coalesce(e.url, d.url) AS at FROM deliveries d LEFT JOIN endpoints e ON e.id = d.endpoint"
        ):
            match row["state"]:
                case "delivered":
                    demand(self.heard.get((row["event"], row["at"]), False), "I8", f"{row['id']} was heard by nobody")
                case "failed":
                    demand(row["tries"] > len(GAPS), "I8", f"{row['id']} was given up after {row['tries']} tries")
                case state:
                    demand(state == "held", "I8", f"{row['id']} is still {state}")

    def check_commit(self) -> list[str]:
        """I1, I5 to I8 and I11, of what has just been committed; answers what changed, for the trace."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return []
        self._version = version
        changed = []
        tries: dict[str, dict[str, str]] = {}
        for row in self._db.execute("SELECT job, id, outcome FROM attempts ORDER BY job, number"):
            tries.setdefault(row["job"], {})[row["id"]] = row["outcome"]
        for row in self._db.execute("SELECT * FROM jobs ORDER BY rowid"):
            before = self._seen.get(row["id"])
            if (
                before is not None
                and tuple(before) == tuple(row)
                and self._tries.get(row["id"]) == tries.get(row["id"])
            ):
                continue
            self._seen[row["id"]] = row
            self._check_move(before, row)
            self._check_attempts(before, row, tries.get(row["id"], {}))
            self.moves[f"{before['state'] if before else ''}>{row['state']}"] += 1
            if row["state"] == "unknown":
                self.unknown.add(row["id"])
            if row["state"] in FINAL and (before is None or before["state"] not in FINAL):
                self._check_announced(row)
            if before is not None and doubtful(before) and not doubtful(row):
                told = "SELECT count(*) FROM deliveries WHERE job = ? AND type = ?"
                (count,) = self._db.execute(told, (row["id"], SETTLED)).fetchone()
                demand(count == 1, "I8", f"{row['id']} was settled, and {count} are told")
            if row["deleted_at"] is None and (row["state"] == "succeeded" or row["outputs"] != "[]"):
                self._check_files(row)
            changed.append(f"{row['id']} {row['state']} {row['seq']} {row['lease_epoch']} {row['due_at']}")
        lost = self._seen.keys() - {row["id"] for row in self._db.execute("SELECT id FROM jobs")}
        demand(not lost, "I3", f"{lost} is gone")
        self._tries = tries
        self._check_keys()
        self._check_money()
        return changed

    @staticmethod
    def _check_move(before: Any, after: Any) -> None:
        """I7 and I11: legal moves only, each with a number of its own, and none out of an end."""
        if before is None:
            demand(after["state"] == "queued", "I11", f"{after['id']} was born {after['state']}")
            return
        was, is_ = State(before["state"]), State(after["state"])
        step = after["seq"] - before["seq"]
        if was in FINAL:
            for name in ("state", "completed_at", "error", "attempt", *(() if doubtful(before) else ("task", "usage"))):
                demand(before[name] == after[name], "I7", f"{after['id']} ended, and its {name} changed")
            kept = before["outputs"] == after["outputs"] or after["updated_at"] >= (before["expires_at"] or 0)
            demand(kept, "I7", f"{after['id']} ended, and its clip is gone before its time")
        if before["abandoned"]:
            demand(given_up(before) == given_up(after), "I1", f"{after['id']} gave up two orders")
        # One commit may hold several moves of a job; each has a number.
        legal = is_ in MOVES[was] if step == 1 else step > 1 or is_ is was
        demand(legal and step >= 0, "I11", f"{after['id']}: {was} -> {is_} with {step} steps")
        demand(after["lease_epoch"] >= before["lease_epoch"], "I11", f"{after['id']}: its epoch ran backwards")

    def _check_attempts(self, before: Any, job: Any, tries: Mapping[str, str]) -> None:
        """I1: at most one attempt is open, an ended job has none, and one is given up only where that was asked for."""
        wish = msgspec.json.decode(job["wish"])
        asked = wish.get("preferences", {}).get("on_unknown") == "resubmit"
        left = {id_ for id_, outcome in tries.items() if outcome == "abandoned"}
        demand(asked or not (left or job["abandoned"]), "I1", f"{job['id']} was ordered again unasked")
        demand(left <= {given_up(job)}, "I1", f"{job['id']} gave up {left}")
        open_ = [id_ for id_, outcome in tries.items() if outcome in OPEN]
        demand(len(open_) <= 1, "I1", f"{job['id']} has {len(open_)} open attempts")
        if job["state"] in FINAL:
            demand(not open_, "I2", f"{job['id']} has ended and {open_} is open")
        for id_, was in self._tries.get(job["id"], {}).items():
            if was not in OPEN and not (before and doubtful(before) and id_ in {job["attempt"], given_up(job)}):
                demand(tries.get(id_) == was, "I7", f"{id_} ended as {was} and is now {tries.get(id_)}")

    def _check_files(self, job: Any) -> None:
        """I6: a clip that succeeded is here, whole."""
        kept = msgspec.json.decode(job["outputs"], type=list[Rendition])
        if job["expires_at"] is not None and job["due_at"] is None:
            return  # It was kept for as long as it should.
        demand(bool(kept), "I6", f"{job['id']} succeeded without a clip")
        for each in kept:
            path = self._media / each.path
            demand(path.is_file(), "I6", f"{job['id']}: {each.path} is not there")
            data = path.read_bytes()
            whole = (len(data), hashlib.sha256(data).hexdigest()) == (each.bytes, each.sha256)
            demand(whole, "I6", f"{job['id']}: {each.path} is not what was kept")
            demand(data == clip_of(job["attempt"]), "I6", f"{job['id']}: {each.path} is not the clip that was bought")

    def _check_keys(self) -> None:
        """I5: one Idempotency-Key, one job."""
        keys = Counter(msgspec.json.decode(row["wish"]).get("external_id") for row in self._seen.values())
        keys.pop(None, None)
        twice = [key for key, count in keys.items() if count > 1]
        demand(not twice, "I5", f"{twice} made several jobs")

    def _check_money(self) -> None:
        """I4: no budget is overdrawn, its sums are its entries', and no hold is closed twice."""
        books: dict[str, Counter[str]] = {}
        for row in self._db.execute("SELECT job, debit, credit, usd_micros FROM entries"):
            book = books.setdefault(row["job"], Counter())
            book[row["debit"]] -= row["usd_micros"]
            book[row["credit"]] += row["usd_micros"]
        sums: Counter[str] = Counter()
        for job, book in books.items():
            low = min(book[name] for name in ("held", "spent", "suspense"))
            demand(low >= 0, "I4", f"{job}: a book is below nothing: {dict(book)}")
            sums.update(book)
            row = self._seen[job]
            ended = row["state"] in FINAL
            apart = msgspec.json.decode(row["abandoned"])["hold"]["usd_micros"] if row["abandoned"] else 0
            demand(
                (book["held"] == 0) if ended else (book["spent"], book["suspense"]) == (0, apart),
                "I4",
                f"{job} is {row['state']}: {dict(book)}",
            )
            if book["spent"] or book["suspense"]:
                possible = job in self.bought or job in self.unknown
                demand(possible, "I4", f"{job} was charged and never bought: {dict(book)}")
            if ended and job in self.bought and row["state"] == "succeeded":
                demand(book["spent"] > 0, "I4", f"{job} was bought and not charged")
        for row in self._db.execute("SELECT * FROM budgets"):
            for name in ("held", "spent", "suspense"):
                demand(
                    row[name] == sums[name], "I4", f"{row['id']}: {name} is {row[name]}, its entries say {sums[name]}"
                )
            demand(
                self._limit is None or row["held"] + row["spent"] + row["suspense"] <= self._limit,
                "I4",
                f"{row['id']} is overdrawn",
            )

    def _paid(self, job: str, attempt: str) -> bool:
        """Whether the money of an order was spent, or is in doubt: one that was given up has a hold of its own."""
        query = "SELECT id, credit, debit, usd_micros FROM entries WHERE job = ? AND kind <> 'hold'"
        apart = f".{given_up(self._seen[job])}"
        book: Counter[str] = Counter()
        for row in self._db.execute(query, (job,)):
            if row["id"].endswith(apart) is apart.endswith(attempt):
                book[row["credit"]] += row["usd_micros"]
                book[row["debit"]] -= row["usd_micros"]
        return book["spent"] + book["suspense"] > 0

    def check_rest(self, now: int, up_for: float) -> None:
        """I12: while a process is up, no open job waits for nobody."""
        if up_for < OWNERLESS + 5:
            return
        for row in self._seen.values():
            if row["state"] in FINAL:
                continue
            demand(row["due_at"] is not None, "I12", f"{row['id']} is {row['state']} and never due")
            late = (now - row["due_at"]) / 1000
            demand(late <= OWNERLESS + 60, "I12", f"{row['id']} is {row['state']}, due {late:g} s ago and nobody's")

    def check_end(self, ledgers: Iterable[Mapping[str, Made]], *, now: int, told: str, overtaken: bool) -> None:
        """I2, I3, I5, I6, I8 and I9, when all is over."""
        self._check_told()
        rows = {row["id"]: row for row in self._db.execute("SELECT * FROM jobs")}
        for id_, key in self.acknowledged.items():
            demand(id_ in rows, "I3", f"{id_} was acknowledged and is gone")
            demand(rows[id_]["state"] in FINAL, "I3", f"{id_} is {rows[id_]['state']} after its deadline")
            named = msgspec.json.decode(rows[id_]["wish"]).get("external_id")
            demand(named == key, "I5", f"{key} was answered with {id_}, which is of {named}")
        for id_, row in rows.items():
            demand(row["state"] in FINAL, "I3", f"{id_} is {row['state']} after its deadline")
            if row["state"] == "succeeded":
                whole = [made.marker for made in self.bought.get(id_, ()) if made.end == "done"]
                whole = [each for each in whole if each != given_up(row)]
                demand(whole == [row["attempt"]], "I1", f"{id_} succeeded, and {len(whole)} clips were made for it")
                if row["deleted_at"] is None:
                    self._check_files(row)
        for name, query in bodies("doctor").items():
            ailing = self._db.execute(query, {"now": now} if ":now" in query else {}).fetchall()
            demand(not ailing, "I12", f"doctor: {name}: {[tuple(row) for row in ailing]}")
        attempts = {row["id"]: row for row in self._db.execute("SELECT * FROM attempts")}
        for ledger in ledgers:
            for made in ledger.values():
                attempt = attempts[made.marker]
                task = msgspec.json.decode(attempt["task"])["id"] if attempt["task"] else None
                shown = attempt["job"] in self.unknown and attempt["outcome"] in UNTRACED
                demand(
                    task == made.id or shown, "I2", f"{made.id} was bought and {made.marker} is {attempt['outcome']}"
                )
                if made.end == "done" and not made.cancelled:
                    given_back = not self._paid(attempt["job"], made.marker)
                    demand(not given_back, "I4", f"{made.id} came out well, and its money was given back")
        demand(SECRET not in told, "I9", "a secret was logged")
        for path in self._path.parent.glob(f"{self._path.name}*"):
            demand(SECRET.encode() not in path.read_bytes(), "I9", f"a secret is in {path.name}")
        self._check_left({id_ for id_, row in rows.items() if doubtful(row)}, overtaken=overtaken)

    def _check_left(self, doubted: Container[str], *, overtaken: bool) -> None:
        """
        I6: nothing is left of what arrived, but what is gone on with: of jobs in doubt, whose clips may still come.

        Who is stopped while it fetches what another has delivered meanwhile leaves that to the cleaner.
        """
        left = [each for each in (self._media / "incoming").iterdir() if each.name.partition("-")[0] not in doubted]
        left = [each for each in left if not (overtaken and discard(each, math.inf))]
        demand(not left, "I6", f"{left} was left behind")


def doubtful(job: Any) -> bool:
    """Whether a job has ended, and nobody can tell what it cost, or the order given up before its last."""
    return job["state"] in FINAL and '"billing":"possibly_billed"' in f"{job['hold']} {job['abandoned']}"


def given_up(job: Any) -> str | None:
    """Name the order that was given up for another."""
    return msgspec.json.decode(job["abandoned"])["attempt"] if job["abandoned"] else None


def demand(holds: bool, law: str, message: str) -> None:
    """State an invariant."""
    if not holds:
        raise BrokenLawError(f"{law}: {message}")
