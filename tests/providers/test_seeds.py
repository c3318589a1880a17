"""
Every price and credit a founding document prints comes out of the listings: cell by cell, on the document's day.

The documents lie beside, one file each, with every cell as printed. A cell that is a dash is one nobody sells.
"""

import re
import tomllib
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from providers.base.catalog import Quote, Refusal, dollars_per_credit, fit, quote
from providers.base.listing import Listing, listings
from providers.base.order import Request, Spec

HERE = Path(__file__).parent / "seeds"
DASH = "—"


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold one thing a cell says of a clip."""

    plan: str = ""
    choose: dict[str, Any] = {}
    credits: str = ""
    usd: str = ""
    month: int | None = None
    """Clips a month's credits make."""
    durations: list[int] = []
    """Every length sold, and no other."""
    nobody: bool = False
    """Whether it is not sold."""
    why: str = ""


class Cell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a cell that does not say what it means in so many words."""

    column: str
    printed: str
    claims: list[Claim]


class Column(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold what a column is about."""

    name: str
    listing: str = "flow"
    plan: str = ""


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold what a row is about, and its cells."""

    name: str
    model: str
    wire_name: str = ""
    choose: dict[str, Any] = {}
    printed: list[str] = []
    cells: list[Cell] = []


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a table."""

    title: str
    listing: str = "flow"
    columns: list[Column] = []
    rows: list[Row]


class Tier(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold what a subscription costs."""

    name: str
    printed: str
    usd_month: str
    credits_month: int | None = None
    usd_credit: str = ""
    first: str = ""
    """A lower price for the first months, which no clip is quoted at."""


class Fee(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a cost beside the clips."""

    listing: str
    name: str
    printed: str


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold everything a document says of prices."""

    title: str
    source: str
    on: date
    left_out: list[str] = []
    """What it prints in tables that is no price of a clip."""
    plans: list[Tier] = []
    fees: list[Fee] = []
    tables: list[Table]


DOCUMENTS = {
    path.stem: msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Document)
    for path in sorted(HERE.glob("*.toml"))
}


def read_cell(printed: str) -> Claim:
    """Read a cell in the words the tables share."""
    if printed.startswith(DASH):
        return Claim(nobody=True)
    found = re.fullmatch(r"(\d+) cr · ~\$([\d.]+) ([\d,]+) gens/mo", printed)
    if found:
        return Claim(credits=found[1], usd=found[2], month=int(found[3].replace(",", "")))
    if found := re.fullmatch(r"(\d+) cr unlimited \(.+\)", printed):
        return Claim(credits=found[1], usd="0.00")
    found = re.fullmatch(r"(?:~?\$)?(\d+\.\d+)", printed)
    assert found, f"{printed!r} says nothing this test can read: write its claims out"
    return Claim(usd=found[1])


def cells() -> list[Any]:
    """List every cell of every table, with the claims it makes."""
    return [
        pytest.param(document.on, slug, row, claim, id=f"{name}-{row.name}-{column}-{at}".replace(" ", "_"))
        for name, document in DOCUMENTS.items()
        for table in document.tables
        for row in table.rows
        for slug, column, claims in [
            *(
                (column.listing, column.name, [replace(read_cell(said), plan=column.plan, choose=row.choose)])
                for column, said in zip(table.columns, row.printed, strict=False)
            ),
            *((table.listing, cell.column, cell.claims) for cell in row.cells),
        ]
        for at, claim in enumerate(claims)
    ]


def ask(on: date, listing: Listing, model: str, plan: str, choose: dict[str, Any]) -> Quote | list[Refusal]:
    """Ask what a clip cost on a day, or why it was not sold."""
    offer = listing.offer(model)
    if offer is None:
        return [Refusal("model", f"{listing.slug} never sold {model}")]
    spec = fit(offer, msgspec.convert({"prompt": "-", "model": model, **choose}, Request), plan=plan)
    if not isinstance(spec, Spec):
        return spec
    answer = quote(listing, offer, spec, on=on, plan=plan)
    return answer if isinstance(answer, Quote) else [answer]


@pytest.mark.parametrize(("on", "slug", "row", "claim"), cells())
def test_a_cell_comes_out_of_the_listing(on: date, slug: str, row: Row, claim: Claim) -> None:
    """Credits to the credit, dollars to the digits printed, generations a month, and what is not sold."""
    listing = listings()[slug]
    if claim.durations:
        sold = [
            seconds
            for seconds in range(1, 61)
            if isinstance(ask(on, listing, row.model, claim.plan, {**claim.choose, "seconds": seconds}), Quote)
        ]
        assert claim.durations == sold
        return
    answer = ask(on, listing, row.model, claim.plan, claim.choose)
    if claim.nobody:
        assert isinstance(answer, list), answer
        assert any(claim.why in refusal.message for refusal in answer)
        return
    assert isinstance(answer, Quote), answer
    offer = listing.offer(row.model)
    assert offer is not None
    assert not row.wire_name or row.wire_name == offer.wire_name
    if claim.credits:
        assert Decimal(claim.credits) == answer.credits
    if claim.usd:
        printed = Decimal(claim.usd)
        assert printed == (Decimal(answer.usd_micros) / 1_000_000).quantize(printed, ROUND_HALF_UP)
    if claim.month is not None:
        (plan,) = (each for each in listing.plans if each.name == claim.plan)
        assert claim.month == plan.credits_month // (answer.credits or 0)


def test_every_cell_is_there() -> None:
    """No row of a table lacks a cell, and no number of a cell lacks its claim."""
    for document in DOCUMENTS.values():
        for table in document.tables:
            names = {column.name for column in table.columns}
            for row in table.rows:
                named = {cell.column for cell in row.cells}
                shown = [*[column.name for column in table.columns][: len(row.printed)], *named]
                assert len(shown) == len(set(shown))
                assert names <= set(shown), (document.title, row.name)
                for cell in row.cells:
                    said = {*re.findall(r"\d+(?:\.\d+)?", cell.printed)}
                    told = {*re.findall(r"\d+(?:\.\d+)?", repr(cell.claims) + " ".join(plan_words(cell.claims)))}
                    rate = {text for text in said if f"${text} / second" in cell.printed}
                    assert said - told - rate - {"199"} == set(), (row.name, cell.printed)
    assert sum(len(row.printed) for row in DOCUMENTS["flow_overview"].tables[0].rows) == 9 * 4


def plan_words(claims: list[Claim]) -> list[str]:
    """Write plans as the documents do."""
    return [claim.plan.rpartition("-")[2] for claim in claims]


@pytest.mark.parametrize("name", [name for name, document in DOCUMENTS.items() if document.plans])
def test_a_plan_costs_what_the_document_says(name: str) -> None:
    """Its price, its credits, and what a credit then costs, to the digits printed."""
    document, listing = DOCUMENTS[name], listings()["flow"]
    for tier in document.plans:
        (plan,) = (each for each in listing.plans if each.name == tier.name)
        assert tier.usd_month == plan.usd_month
        assert tier.usd_month in tier.printed
        assert plan.since <= document.on
        if tier.credits_month is not None:
            assert tier.credits_month == plan.credits_month
            assert f"{tier.credits_month:,}" in tier.printed
        if tier.usd_credit:
            printed, exact = Decimal(tier.usd_credit), dollars_per_credit(listing, tier.name, document.on)
            assert exact is not None
            assert printed == exact.quantize(printed, ROUND_HALF_UP)
            assert f"~${tier.usd_credit}" in tier.printed
        assert not tier.first or f"${tier.first}" in plan.note


def test_fees_are_shown_as_printed() -> None:
    """What is paid beside the clips is in the listing, not in a clip's price."""
    for document in DOCUMENTS.values():
        for said in document.fees:
            (fee,) = (each for each in listings()[said.listing].fees if each.name == said.name)
            amounts = [Decimal(each) for each in re.findall(r"\$(\d+(?:\.\d+)?)", said.printed)]
            assert amounts == [Decimal(each) for each in (fee.usd, fee.usd_most) if each]
