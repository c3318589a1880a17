"""Sums and comparisons as they are answered: :mod:`gateway.api.spend` writes them."""

from gateway.api.schemas.words import Schema, many, maybe, moment, number, record, text, whole, word
from gateway.money import comparing, spending

COUNTS = {
    "orders": "All of them: each is counted once more, from `made` to `under_way`.",
    "made": "A clip of it was kept; late, or not as ordered, too.",
    "lost": "Made and paid for, and no clip of it was kept.",
    "failed": "Taken and not made, or given up.",
    "refused": "Turned down for what they were.",
    "turned_away": "Not taken for another reason: a full queue, a rest, an account not let in or with nothing left.",
    "cancelled": "",
    "in_doubt": "Nobody can tell whether they were taken.",
    "under_way": "",
    "mismatched": "Of those made: not as ordered.",
    "late": "Of those made: kept only once their videos had ended without them.",
    "clips": "Kept, late and mismatched ones as they came.",
}
"""What is counted in a comparison, and what each count means."""

COMPARED: dict[str, Schema] = {
    **{name: text() for name in comparing.BY},
    **{name: whole(about) for name, about in COUNTS.items()},
    "made_share": maybe(number("`made` of all that came to a verdict: with `lost`, `failed` and `refused`.")),
    "seconds_p50": maybe(whole("From order to kept clip for half of those made in time.")),
    "seconds_p90": maybe(whole("The same for nine in ten.")),
    "clip_seconds": number("How long `clips` are, extensions without their sources."),
    "usd": number("Spent in that time, on these orders or on older ones."),
    "usd_per_clip": maybe(number("`usd` by `clips`: what was paid for nothing is in it.")),
    "usd_per_second": maybe(number("`usd` by `clip_seconds`.")),
}
"""One line of a comparison."""

SPAN = {"since": moment(), "until": moment(), "currency": {"type": "string", "const": "USD"}}
"""Of which time something is said."""

SPENT = {**{name: text() for name in spending.BY}, "usd": number(), "purchases": whole()}

BUDGET = {
    "id": text(),
    "owner": text("A key's id, or `instance` for all of them."),
    "period": word("day", "month", "total"),
    "held": number("Set aside for what is under way, in dollars."),
    "spent": number(),
    "in_doubt": number("Held for what nobody can tell whether it was bought."),
}

SCHEMAS: dict[str, Schema] = {
    "Spend": record(
        {
            **SPAN,
            "total": number(),
            "data": many(record(SPENT, seldom=spending.BY)),
            "budgets": many(record(BUDGET), "Those that count some of that time."),
            "halted": maybe(text("Why nothing is bought at present, where an operator has halted that.")),
        },
        object_="spend",
    ),
    "Comparison": record(
        {**SPAN, "data": many(record(COMPARED, seldom=comparing.BY))},
        object_="comparison",
    ),
}
