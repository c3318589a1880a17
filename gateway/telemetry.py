"""Say what happens: JSON events named noun.past-participle, and counters for Prometheus."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from structlog.typing import Processor

from gateway.jobs.job import Job, State

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def start_logging(level: str) -> None:
    """Write events as one JSON object a line to standard error; other people's loggers only warn, and likewise."""
    dated: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    written: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_dump),
    ]
    others = logging.StreamHandler(sys.stderr)
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


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
        self.requests = Counter(
            "reelgate_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "reelgate_request_seconds",
            "Time until the answer was complete.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
            registry=self.registry,
        )
        self.submits = Counter(
            "reelgate_submits",
            "Orders handed over, by what came of it.",
            ["provider", "outcome"],
            registry=self.registry,
        )
        self.jobs_ended = Counter(
            "reelgate_jobs", "Jobs ended.", ["provider", "model", "state"], registry=self.registry
        )
        self.job_seconds = Histogram(
            "reelgate_job_seconds",
            "Time from accepting a job to its end.",
            ["provider", "model"],
            buckets=(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
            registry=self.registry,
        )
        self.rests = Counter(
            "reelgate_account_rests",
            "Times an account was given a rest, by why.",
            ["account", "kind"],
            registry=self.registry,
        )
        self.mismatches = Counter(
            "reelgate_mismatches",
            "Clips that are not what was ordered.",
            ["provider", "feature"],
            registry=self.registry,
        )
        self.fetches = Counter(
            "reelgate_fetches",
            "Tries to fetch a finished clip, by what came of it: kept, lost, or why not this time.",
            ["provider", "outcome"],
            registry=self.registry,
        )
        self.deliveries = Counter(
            "reelgate_deliveries", "Webhooks sent, by what came of it.", ["outcome"], registry=self.registry
        )
        self.lateness = Gauge(
            "reelgate_loop_late_seconds", "How late the loop was with its last tick.", registry=self.registry
        )
        self.aside = Gauge(
            "reelgate_jobs_put_aside", "Open jobs whose steps brought the gateway down.", registry=self.registry
        )
        self.counted_at: int | None = None
        """When the last census was taken."""
        self.jobs_now = Gauge("reelgate_jobs_now", "Jobs by state.", ["state"], registry=self.registry)

    def ended(self, job: Job) -> None:
        """Count a job's end."""
        provider, _, model = (job.offer or ":").partition(":")
        self.jobs_ended.labels(provider, model, job.state).inc()
        if job.completed_at is not None:
            self.job_seconds.labels(provider, model).observe((job.completed_at - job.created_at) / 1000)

    def take_census(self, counts: Mapping[str, int], aside: int, now: int) -> None:
        """Take over how many jobs there are in each state, and how many are put aside."""
        self.counted_at = now
        self.aside.set(aside)
        for state in State:
            self.jobs_now.labels(state).set(counts.get(state, 0))

    def exposition(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return generate_latest(self.registry)
