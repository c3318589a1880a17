"""When an answer says to come back: by its own date, never by our clock."""

import pytest

from providers.base.advice import instant, retry_after, seconds_to_midnight, seconds_until

WRITTEN = {"date": "Thu, 01 Jan 2026 11:59:00 GMT"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0), ("0", 1.0), ("999999999", 86_400.0), ("", None), ("-1", None), ("soon", None), ("9" * 400, None),
        ("\u0663", None), ("1.5", None), ("Thu, 01 Jan 2026 12:00:00 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1.0),
    ],
)  # fmt: skip
def test_retry_after(value, seconds):
    """Advice is a number of seconds or a date, within reason, or none."""
    assert seconds == retry_after({**WRITTEN, "retry-after": value})


def test_a_date_needs_the_answers_own_clock():
    """Without the answer's date, a date in it says nothing."""
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 12:00:00 GMT"}) is None
    assert seconds_to_midnight({}) is None
    assert seconds_to_midnight({"date": "yesterday"}) is None


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("2026-01-01T12:00:00Z", 60.0), ("2026-01-01T14:00:00+02:00", 60.0), ("2026-01-01T12:00:00", 60.0), ("x", None)],
)
def test_an_instant(said, seconds):
    """An instant in a body counts from the answer's date; one without a zone is in UTC."""
    assert seconds == seconds_until(instant(said), WRITTEN)
