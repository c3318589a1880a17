"""Say what happens: JSON events named noun.past-participle, and counters for Prometheus."""

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, TextIO, cast

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from structlog.typing import Processor

from gateway.jobs.job import Job, State
from gateway.money.ledger import Book, Posting

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

MOST_KEYS = 200
"""Keys whose spending has a line of its own."""


def start_logging(level: str) -> None:
    """Write events as one JSON object a line to standard error; other people's loggers only warn, and likewise."""
    dated: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    written: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_dump),
    ]
    heard = cast("TextIO", Heedless(sys.stderr))
    others = logging.StreamHandler(heard)
    others.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *dated],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *written],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[others])
    structlog.configure(
        processors=[*dated, *written],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(heard),
        cache_logger_on_first_use=True,
    )


class Heedless:
    """Write where somebody reads; a log that cannot be written (a pipe nobody holds, a full disk) stops no work."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write, if that can be done."""
        with suppress(OSError, ValueError):
            if self._file is not None:
                self._file.write(text)

    def flush(self) -> None:
        """Hand over what was written, if that can be done."""
        with suppress(OSError, ValueError):
            if self._file is not None:
                self._file.flush()


def _dump(event: MutableMapping[str, Any], **_: Any) -> str:
    """Write an event on one line, whatever is in it."""
    return msgspec.json.encode(event, enc_hook=str).decode()


def names(job: Job) -> dict[str, str | None]:
    """Name what a log line is about."""
    return {"job": job.id, "attempt": job.attempt, "offer": job.offer, "account": job.account}


class Metrics:
    """Count what happens; one registry an app, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered.", "route", "method", "status")
        self.request_seconds = self._histogram(
            "request_seconds",
            "Time until the answer was complete.",
            "route",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
        )
        self.submits = self._counter("submits", "Orders handed over, by what came of it.", "provider", "outcome")
        self.jobs_ended = self._counter("jobs", "Jobs ended.", "provider", "model", "state")
        self.job_seconds = self._histogram(
            "job_seconds",
            "Time from accepting a job to its end.",
            "provider",
            "model",
            buckets=(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
        )
        self.forgotten = self._counter("jobs_forgotten", "Jobs forgotten, as they had ended long enough ago.")
        self.call_seconds = self._histogram(
            "provider_call_seconds",
            "Time a provider took to answer: an order, or a look at one and whatever else costs nothing to repeat.",
            "provider",
            "call",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self.spend = self._counter(
            "spend_usd",
            "Dollars spent on what this process saw the end of, by the id of the key that ordered it.",
            *("provider", "model", "key"),
        )
        self.excess = self._counter(
            "over_estimate_usd",
            "Dollars providers charged beyond what was set aside, of what this process saw the end of.",
            *("provider", "model"),
        )
        self.words = self._counter("unknown_words", "Looks at tasks that stood in a word nobody knows.", "provider")
        self._keys: set[str] = set()
        """Keys with a label of their own."""
        self.rests = self._counter("account_rests", "Times an account was given a rest, by why.", "account", "kind")
        self.resting = self._gauge(
            "account_resting", "Whether an account orders nothing of some model for now: 1 or 0.", "account"
        )
        self.mismatches = self._counter("mismatches", "Clips that are not what was ordered.", "provider", "feature")
        self.fetches = self._counter(
            "fetches",
            "Tries to fetch a finished clip, by what came of it: kept, lost, or why not this time.",
            *("provider", "outcome"),
        )
        self.deliveries = self._counter("deliveries", "Webhooks sent, by what came of it.", "outcome")
        self.lateness = self._gauge("loop_late_seconds", "How late the loop was with its last tick.")
        self.aside = self._gauge("jobs_put_aside", "Open jobs whose steps brought the gateway down.")
        self.ownerless = self._gauge("tasks_ownerless", "Tasks that were bought, are nobody's, and were not seen to.")
        self.oldest = self._gauge(
            "jobs_oldest_queued_seconds",
            "How long ago the oldest job was accepted that waits for its order; 0 where none waits.",
        )
        self.jobs_now = self._gauge("jobs_now", "Jobs by state.", "state")
        self.counted_at: int | None = None
        """When the last census was taken."""

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        """Make what only grows."""
        return Counter(f"reelgate_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        """Make what rises and falls."""
        return Gauge(f"reelgate_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, *labels: str, buckets: Sequence[float]) -> Histogram:
        """Make what is spread out."""
        return Histogram(f"reelgate_{name}", about, labels, buckets=buckets, registry=self.registry)

    def ended(self, job: Job) -> None:
        """Count a job's end."""
        provider, _, model = (job.offer or ":").partition(":")
        self.jobs_ended.labels(provider, model, job.state).inc()
        if job.completed_at is not None:
            self.job_seconds.labels(provider, model).observe((job.completed_at - job.created_at) / 1000)

    def spent(self, postings: Iterable[Posting]) -> None:
        """Count what is spent for good; of keys beyond the first hundreds all are one."""
        for entry in (each.entry for each in postings if each.entry.credit is Book.SPENT):
            if len(self._keys) < MOST_KEYS:
                self._keys.add(entry.owner)
            key = entry.owner if entry.owner in self._keys else "others"
            self.spend.labels(entry.provider, entry.model, key).inc(entry.usd_micros / 1_000_000)
            if entry.kind == "excess":
                self.excess.labels(entry.provider, entry.model).inc(entry.usd_micros / 1_000_000)

    def take_census(self, counts: Mapping[str, int], aside: int, oldest: int | None, now: int) -> None:
        """Take over how many jobs there are in each state, how many are put aside, and since when the oldest waits."""
        self.counted_at = now
        self.aside.set(aside)
        self.oldest.set(0 if oldest is None else max(0, now - oldest) / 1000)
        for state in State:
            self.jobs_now.labels(state).set(counts.get(state, 0))

    def exposition(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return generate_latest(self.registry)
