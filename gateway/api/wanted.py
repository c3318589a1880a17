"""Read by what a list of videos is asked for, and write where it goes on."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from litestar.datastructures import MultiDict

from gateway.api.answers import DETAIL, STATUS
from gateway.api.desk import Desk, Incoming
from gateway.clock import DAY_MS
from gateway.jobs.job import State
from gateway.problems import invalid
from gateway.store.lists import Wanted

EXPIRED = "expired"
WORDS = (*dict.fromkeys([*STATUS.values(), *DETAIL.values()]), EXPIRED)
"""What ``status`` and ``status_detail`` can be."""
ASKED = ("status", "provider", "model", "key", "since", "until")
LATEST = 253_402_300_799
"""The last second of the year 9999."""
EPOCH = date(1970, 1, 1)


def wanted(request: Incoming, services: Desk) -> Wanted:
    """
    Read what a list leaves out; several of one word are any of them.

    :raises ProblemError: 422 for a status there is not, a key said twice, a time that is none.
    """
    query = request.query_params
    statuses, models = query.getall("status", []), query.getall("model", [])
    unknown = next((each for each in statuses if each not in WORDS), None)
    if unknown is not None:
        raise invalid("status", f"{unknown[:64]!r} is no status; there are {', '.join(WORDS)}.")
    states = states_of(statuses)
    return Wanted(
        states=states,
        expired=EXPIRED in statuses and "completed" not in statuses,
        providers=frozenset(query.getall("provider", [])),
        models=frozenset(models),
        names=frozenset(each for each in models if _is_name(each, services)),
        key=_key(query),
        since=_time(query, "since"),
        until=_time(query, "until", days=1),
    )


def states_of(words: Iterable[str]) -> frozenset[State]:
    """Say which states OpenAI's words and ours stand for."""
    asked = {"completed" if each == EXPIRED else each for each in words}
    return frozenset(state for state in State if {STATUS[state], DETAIL[state]} & asked)


def link(request: Incoming, word: str, cursor: str) -> str:
    """Write where a list goes on (RFC 8288): as it was asked for, after or before an id."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in {"after", "before"}]
    way = "next" if word == "after" else "prev"
    return f'<{request.scope["path"]}?{urlencode([*kept, (word, cursor)])}>; rel="{way}"'


def _is_name(model: str, services: Desk) -> bool:
    """Whether a model can only have been asked for by that name; no database knows what cannot be printed."""
    return model.isprintable() and ("/" not in model or model in services.shop.aliases)


def _key(query: MultiDict[str]) -> str:
    """
    Read whose videos are asked for.

    :raises ProblemError: 422 for what is no key's id.
    """
    said = _once(query, "key")
    if said is None:
        return ""
    if not said or not (said.isascii() and said.isprintable()):
        raise invalid("key", "key is the id of an API key.")
    return said


def _once(query: MultiDict[str], name: str) -> str | None:
    """
    Read what can be said once.

    :raises ProblemError: 422.
    """
    said = query.getall(name, [])
    if len(said) > 1:
        raise invalid(name, f"Say {name} once.")
    return said[0] if said else None


def _time(query: MultiDict[str], name: str, *, days: int = 0) -> int | None:
    """
    Read a time: seconds since the epoch, or a day (UTC), and so many days after that.

    :raises ProblemError: 422.
    """
    text = _once(query, name)
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= len(str(LATEST)):
        return min(LATEST, int(text)) * 1000
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise invalid(name, f"{name} is a day, 2026-11-01, or seconds since the epoch.") from None
    return max(0, ((day - EPOCH).days + days) * DAY_MS)
