"""Write what is sold as the README's tables: pure, from the listings alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from providers.base.catalog import Quote, fit, quote
from providers.base.listing import Listing, Offer
from providers.base.order import Mode, Request, lines

MODES = {
    Mode.TEXT: "text",
    Mode.FIRST_FRAME: "first frame",
    Mode.FRAMES: "first + last",
    Mode.REFERENCE: "references",
    Mode.EDIT: "edit",
    Mode.EXTEND: "extend",
    Mode.UPSCALE: "upscale",
}
LOST = {
    "A": "ordered again, which is one order",
    "B": "looked up by our own id",
    "C": "told by callback",
    "D": "looked for among the newest tasks",
    "E": "in doubt after three minutes, never ordered again unasked",
}
MARK = "<!-- table: {} -->"
END = "<!-- end of table -->"


def tables(listings: Mapping[str, Listing]) -> dict[str, str]:
    """Write every table, by its name, as of the day the listings were last checked."""
    real = [listing for listing in listings.values() if not listing.sandbox]
    day = max(line.checked for listing in real for line in (*listing.prices, *listing.plans, *listing.fees))
    return {"providers": _providers(real), "capabilities": _capabilities(real, day), "prices": _prices(real, day)}


def insert(text: str, written: Mapping[str, str]) -> str:
    """Put tables between their marks in a text; a mark without a table, or a table without a mark, is an error."""
    marks = re.findall(r"<!-- table: (\w+) -->", text)
    if sorted(marks) != sorted(written):
        msg = f"the marks are {', '.join(sorted(marks))}; the tables are {', '.join(sorted(written))}"
        raise ValueError(msg)
    for name, table in written.items():
        start = MARK.format(name)
        head, _, rest = text.partition(start)
        _, _, tail = rest.partition(END)
        text = f"{head}{start}\n{table}\n{END}{tail}"
    return text


def _providers(real: Sequence[Listing]) -> str:
    """Write who sells: what an account needs, and what happens to an order whose answer was lost."""
    rows = [
        [
            f"[{listing.name}]({listing.docs})",
            f"`{listing.slug}`",
            ", ".join(f"`{secret.name}`" for secret in listing.secrets if secret.required),
            LOST[listing.submit_class],
            "; ".join(
                f"{fee.name} ${fee.usd}{f'-{fee.usd_most}' if fee.usd_most else ''} per {fee.per}"
                for fee in listing.fees
            )
            or "-",
        ]
        for listing in real
    ]
    return _table(
        ["provider", "slug", "an account needs", "an order whose answer was lost is", "beside the clips"], rows
    )


def _capabilities(real: Sequence[Listing], day: date) -> str:
    """Write what each offer that is still sold can do."""
    rows = [
        [
            f"`{listing.slug}:{offer.model}`",
            ", ".join(MODES[mode] for mode in offer.mode),
            _run(sorted(each for each in offer.seconds if each)),
            " ".join(sorted(offer.resolution, key=lines)),
            " ".join(offer.aspect_ratio),
            "on or off" if len(offer.audio) > 1 else "on" if offer.audio[0] else "off",
            str(max(offer.n)),
            str(offer.references or "-"),
        ]
        for listing in real
        for offer in listing.offers
        if _sold(offer, day)
    ]
    return _table(["offer", "from", "seconds", "resolution", "shape", "sound", "n", "references"], rows)


def _prices(real: Sequence[Listing], day: date) -> str:
    """Write what eight seconds at 720p cost at each seller, plan by plan."""
    sellers = [(listing, plan) for listing in real for plan in _plans(listing, day)]
    models = sorted({offer.model for listing in real for offer in listing.offers if _sold(offer, day)})
    rows = [
        [f"`{model}`", *(_price(listing, listing.offer(model), plan, day) for listing, plan in sellers)]
        for model in models
    ]
    rows = [row for row in rows if {*row[1:]} != {"-"}]
    return _table([f"8 s at 720p, {day}", *(f"{each.slug} {plan}".strip() for each, plan in sellers)], rows)


def _plans(listing: Listing, day: date) -> list[str]:
    """Name the plans in force that still bring something else than an older one of the same name."""
    return [plan.name for plan in listing.plans if plan.since <= day and "special" not in plan.name] or [""]


def _price(listing: Listing, offer: Offer | None, plan: str, day: date) -> str:
    """Write one price, or why there is none."""
    if offer is None or not _sold(offer, day):
        return "-"
    spec = fit(offer, Request(prompt="-", model=offer.model, seconds=8, resolution="720p"), plan=plan)
    if isinstance(spec, list):
        return "-"
    answer = quote(listing, offer, spec, on=day, plan=plan)
    if not isinstance(answer, Quote):
        return "not stated"
    return f"${answer.usd_micros / 1_000_000:.2f}" if answer.usd_micros % 10_000 == 0 else _exact(answer.usd_micros)


def _exact(micros: int) -> str:
    """Write an amount below a cent's grain with three decimals."""
    return f"${micros / 1_000_000:.3f}"


def _sold(offer: Offer, day: date) -> bool:
    """Whether an offer is still sold on a day."""
    return offer.ended is None or day < offer.ended


def _run(numbers: Sequence[int]) -> str:
    """Write whole numbers, a long unbroken row of them by its ends."""
    unbroken = len(numbers) > 3 and list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if unbroken else " ".join(map(str, numbers))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    whole = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in whole)
