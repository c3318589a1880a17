"""Laws of the written tables: what they say is what the listings say, and the README says it now."""

from datetime import date
from pathlib import Path

import pytest

from gateway.offers.tables import END, MARK, insert, tables
from providers.base.catalog import Quote, fit, quote
from providers.base.listing import Fee, Plan, Secret, listings
from providers.base.order import Request, Spec
from tests.make import listing, offer, price
from tests.server import ROOT, Server

DAY = date(2026, 11, 1)
GOLD = Plan(name="gold", usd_month="10", credits_month=100, since=DAY, source="s", checked=DAY)
FEE = Fee(name="rent", usd="5", usd_most="9", per="month", since=DAY, source="s", checked=DAY)
ACME = listing(
    "acme", plans=[GOLD], fees=[FEE], submit_class="C", secrets=[Secret(name="ACME_KEY", what="k"),
    Secret(name="ACME_REGION", what="r", required=False)],
    offers=[
        offer(seconds=[8, 3, 4, 5, 6, 7], n=[1, 4], references=3),
        offer("maker/gone", ended=date(2026, 1, 1), ended_why="gone"),
        offer("maker/unpriced", audio=[True]),
        offer("maker/long", seconds=[10]),
    ],
    prices=[price("", credits="7", per="video", models=["maker/one", "maker/long", "maker/gone"], checked=DAY)],
)  # fmt: skip
OTHER = listing("other", prices=[price("0.0123")], offers=[offer()])


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_who_sells() -> None:
    """What an account needs, what becomes of a lost order, what is paid beside; the sandbox is no seller."""
    written = tables({"acme": ACME, "sandbox": listing("sandbox", sandbox=True)})["providers"]
    assert [
        "[Acme](https://acme.test/docs)",
        "`acme`",
        "`ACME_KEY`",
        "told by callback",
        "rent $5-9 per month",
    ] in rows(written)
    assert "sandbox" not in written


def test_what_can_be_done() -> None:
    """Only what is still sold; a long row of seconds by its ends."""
    written = rows(tables({"acme": ACME})["capabilities"])
    assert [
        "`acme:maker/one`",
        "text, first frame",
        "3 to 8",
        "720p 1080p",
        "16:9 9:16",
        "on or off",
        "4",
        "3",
    ] in written
    assert ["`acme:maker/unpriced`", "text, first frame", "4 8", "720p 1080p", "16:9 9:16", "on", "1", "-"] in written
    assert not [row for row in written if "gone" in row[0]]


def test_what_it_costs() -> None:
    """Eight seconds at each seller and plan: to the cent where that is exact, else to a tenth of one."""
    written = rows(tables({"acme": ACME, "other": OTHER})["prices"])
    assert ["8 s at 720p, 2026-11-01", "acme gold", "other"] == written[0]
    assert ["`maker/one`", "$0.70", "$0.098"] in written
    assert ["`maker/unpriced`", "not stated", "-"] in written
    assert not [row for row in written if "long" in row[0] or "gone" in row[0]]


def test_every_price_in_the_readme_is_a_quote() -> None:
    """Cell by cell, worked out a second time."""
    head, _, *body = rows(tables(listings())["prices"])
    day = date.fromisoformat(head[0].rpartition(" ")[2])
    seen = 0
    for row in body:
        model = row[0].strip("`")
        for cell, column in zip(row[1:], head[1:], strict=True):
            slug, _, plan = column.partition(" ")
            found = listings()[slug].offer(model)
            if not cell.startswith("$"):
                continue
            assert found is not None
            spec = fit(found, Request(prompt="-", model=model, seconds=8, resolution="720p"), plan=plan)
            assert isinstance(spec, Spec)
            answer = quote(listings()[slug], found, spec, on=day, plan=plan)
            assert isinstance(answer, Quote)
            assert abs(float(cell[1:]) - answer.usd_micros / 1_000_000) < 0.000_501
            seen += 1
    assert seen > 20


def test_tables_go_between_their_marks() -> None:
    """What stands around them stays; a second writing changes nothing."""
    text = f"before\n{MARK.format('one')}\nold\n{END}\nbetween\n{MARK.format('two')}\n{END}\nafter\n"
    once = insert(text, {"one": "| 1 |", "two": "| 2 |"})
    assert f"before\n{MARK.format('one')}\n| 1 |\n{END}\nbetween\n{MARK.format('two')}\n| 2 |\n{END}\nafter\n" == once
    assert once == insert(once, {"one": "| 1 |", "two": "| 2 |"})


@pytest.mark.parametrize("written", [{"one": "x"}, {"one": "x", "two": "y", "three": "z"}, {}])
def test_a_mark_without_its_table_is_an_error(written: dict[str, str]) -> None:
    """Nothing is left out in silence."""
    with pytest.raises(ValueError, match="the marks are one, two"):
        insert(f"{MARK.format('one')}\n{END}\n{MARK.format('two')}\n{END}\n", written)


def test_the_readme_says_what_the_listings_say_now() -> None:
    """``reelgate table --write README.md`` would change nothing."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == insert(text, tables(listings())), "run: reelgate table --write README.md"


def test_the_command_writes_them(tmp_path: Path) -> None:
    """To the terminal, or into a file that has the marks."""
    server = Server(tmp_path)
    printed = server.cli("table").stdout
    assert printed == "\n\n".join(tables(listings()).values()) + "\n"
    page = server.folder / "page.md"
    page.write_text("".join(f"{MARK.format(name)}\nold\n{END}\n" for name in tables(listings())))
    server.cli("table", "--write", str(page))
    assert all(table in page.read_text() for table in tables(listings()).values())
    page.write_text("no marks")
    refused = server.cli("table", "--write", str(page), check=False)
    assert (2, "no marks") == (refused.returncode, page.read_text())
    assert refused.stderr.startswith("reelgate: ")
