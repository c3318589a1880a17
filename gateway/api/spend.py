"""``/v1/spend`` and ``/v1/comparison``: what was spent on whom, what each budget has left, and who did how well."""

from collections.abc import Sequence

from litestar import get
from litestar.types import ASGIApp

from gateway.api.answers import usd
from gateway.api.desk import Incoming, caller, check_query, desk, reply
from gateway.money import comparing
from gateway.money.ledger import INSTANCE
from gateway.money.spending import BY, BackwardsError, add_up, window
from gateway.problems import ProblemError, invalid


@get("/spend", opt={"scope": "read"}, operation_id="getSpend")
async def get_spend(request: Incoming) -> ASGIApp:
    """
    Say what this key spent: ``by`` (provider, model, key, account, day), ``since`` and ``until`` (days, UTC).

    A key with the scope ``metrics`` sees every key's. ``budgets`` are those that count some of that time.
    """
    services, who = desk(request), caller(request)
    by, since, until = _asked(request, BY)
    owner, everything = who.key or "local", "metrics" in who.scopes
    spent = [each for each in await services.store.spent(since, until) if everything or each.owner == owner]
    kept = [
        each for each in await services.store.budgets(since, until) if everything or each.owner in {owner, INSTANCE}
    ]
    sums = add_up(spent, by)
    return reply(
        {
            "object": "spend",
            "since": since // 1000,
            "until": until // 1000,
            "currency": "USD",
            "total": usd(sum(each.usd_micros for each in sums)),
            "data": [{**each.of, "usd": usd(each.usd_micros), "purchases": each.purchases} for each in sums],
            "budgets": [
                {
                    "id": each.id,
                    "owner": each.owner,
                    "period": each.period,
                    "held": usd(each.held),
                    "spent": usd(each.spent),
                    "in_doubt": usd(each.suspense),
                }
                for each in kept
            ],
            "halted": await services.store.halted(),
        }
    )


@get("/comparison", opt={"scope": "read"}, operation_id="getComparison")
async def get_comparison(request: Incoming) -> ASGIApp:
    """
    Say what came of this key's orders: ``by`` (provider, model, account, key), ``since`` and ``until`` (days, UTC).

    A key with the scope ``metrics`` sees every key's.
    """
    services, who = desk(request), caller(request)
    by, since, until = _asked(request, comparing.BY)
    owner, everything = who.key or "local", "metrics" in who.scopes
    came = [each for each in await services.store.orders(since, until) if everything or each.owner == owner]
    spent = [each for each in await services.store.spent(since, until) if everything or each.owner == owner]
    records = comparing.records_of(came, spent, by)
    return reply(
        {
            "object": "comparison",
            "since": since // 1000,
            "until": until // 1000,
            "currency": "USD",
            "data": [comparing.describe(record) for record in records],
        }
    )


def _asked(request: Incoming, known: Sequence[str]) -> tuple[list[str], int, int]:
    """
    Read by what and from when to when it is asked for.

    :raises ProblemError: naming the parameter.
    """
    query = request.query_params
    check_query(request, ("by", "since", "until"))
    by = [each for each in query.get("by", "provider,model").split(",") if each]
    if {*by} - {*known} or len(set(by)) < len(by):
        raise ProblemError(422, "invalid_value", f"by names some of {', '.join(known)}, each once.", param="by")
    if "" in {query.get("since"), query.get("until")}:
        raise _no_days()
    try:
        return by, *window(query.get("since", ""), query.get("until", ""), desk(request).clock())
    except BackwardsError as error:
        raise invalid("since", f"{error}: nothing lies between them.") from error
    except (ValueError, OverflowError) as error:
        raise _no_days() from error


def _no_days() -> ProblemError:
    """Describe a stretch of time that is none."""
    return ProblemError(422, "invalid_value", "since and until are days: 2026-11-01.", param="since")


HANDLERS = (get_spend, get_comparison)
