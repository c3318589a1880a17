"""Read what an answer says about when to come back: seconds from the moment it was written, never a clock of ours."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LEAST = 1.0
MOST = 86_400.0
"""Advice beyond a day is taken for a day."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """
    Read ``Retry-After``: seconds or a date (RFC 9110, section 10.2.3); anything else is no advice.

    >>> retry_after({"retry-after": "30"}), retry_after({"retry-after": "soon"})
    (30.0, None)
    """
    said = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", said, re.ASCII):
        return _bounded(float(said))
    return seconds_until(_date(said), headers)


def seconds_until(instant: datetime | None, headers: Mapping[str, str]) -> float | None:
    """
    Count the seconds from an answer's own ``Date`` to an instant it names; ``None`` where either is missing.

    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> seconds_until(noon, {"date": "Thu, 01 Jan 2026 11:59:00 GMT"})
    60.0
    """
    written = _date(headers.get("date", ""))
    if instant is None or written is None:
        return None
    return _bounded((instant - written).total_seconds())


def seconds_to_midnight(headers: Mapping[str, str]) -> float | None:
    """
    Count the seconds from an answer's ``Date`` to the next midnight UTC, when daily quotas begin anew.

    >>> seconds_to_midnight({"date": "Thu, 01 Jan 2026 23:00:00 GMT"})
    3600.0
    """
    written = _date(headers.get("date", ""))
    if written is None:
        return None
    midnight = written.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return seconds_until(midnight, headers)


def instant(said: str) -> datetime | None:
    """
    Read an ISO 8601 instant, in UTC where it names no zone; anything else is none.

    >>> instant("2026-01-01T12:00:00Z")
    datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        read = datetime.fromisoformat(said)
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _date(said: str) -> datetime | None:
    """Read an HTTP date."""
    try:
        read = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _bounded(seconds: float) -> float:
    """Keep advice between a second and a day."""
    return min(max(seconds, LEAST), MOST)
