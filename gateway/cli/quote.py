"""``reelgate quote``: what every offer would charge."""

import json
from typing import Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from gateway.cli.common import DEFAULT_URL, Url, call, client
from gateway.cli.wanted import Wanted, call_of, inline

OPEN = Wanted()


def quote(
    prompt: str,
    *,
    wanted: Wanted = OPEN,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """
    Show what every offer would charge for a clip, or why it cannot make it; nothing is kept and nothing is spent.

    Parameters
    ----------
    prompt
        What the clip should show.
    json_
        Print the gateway's answer as it is.
    url
        The gateway.
    """
    with client(url) as http:
        answer = call(http, "POST", "/v1/quotes", json=call_of(prompt, wanted, inline))
    if json_:
        print(json.dumps(answer, indent=2))
        return
    console = Console()
    console.print(quotes_table(answer["data"]))
    for line in fees(answer["data"]):
        console.print(line, highlight=False)


def quotes_table(quotes: list[dict[str, Any]]) -> Group:
    """Draw quotes as a table, on whose word the prices are, and why the others cannot; ``#`` is the order of trying."""
    table = Table(
        Column("#", justify="right"),
        Column("offer", overflow="fold"),
        Column("price", no_wrap=True),
        Column("clip", no_wrap=True),
        Column("wait", no_wrap=True),
        title="Quotes",
        box=SIMPLE_HEAD,
    )
    sources: dict[str, list[str]] = {}
    notes: list[Text] = []
    reasons: list[Text] = []
    for each in quotes:
        offer = each["offer"] if each["account"] == each["provider"] else f"{each['offer']} ({each['account']})"
        if each["can"]:
            clip, wait = clip_of(each["spec"]), wait_of(each["expected_seconds"])
            place = str(each["place"] or "-")  # None that makes another clip than those that would be tried.
            table.add_row(place, offer, price_of(each), clip, wait)
            sources.setdefault(each["price_source"], []).append(place)
            notes += [Text(f"note: {offer}: {note['details']}", style="dim") for note in each.get("warnings", ())]
        else:
            why = "; ".join(reason["message"] for reason in each["reasons"])
            reasons.append(Text(f"cannot: {offer}: {why}", style="dim"))
    told = [Text(f"price of {', '.join(places)}: {source}", style="dim") for source, places in sources.items()]
    return Group(table, *told, *notes, *reasons)


def price_of(quoted: dict[str, Any]) -> str:
    """Write a price in dollars, and in credits where those are what is spent."""
    usd = f"${quoted['usd']:.4f}"
    return usd if quoted["credits"] is None else f"{usd} ({quoted['credits']} credits)"


def clip_of(spec: dict[str, Any]) -> str:
    """Write what would be made."""
    number = f"{spec['n']} x " if spec["n"] > 1 else ""
    seconds = f"{spec['seconds']} s" if spec["seconds"] else "as long as its source"
    return f"{number}{seconds} {spec['resolution']} {spec['aspect_ratio']}{'' if spec['audio'] else ' silent'}"


def wait_of(seconds: float) -> str:
    """Write how long making it usually takes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def fees(quotes: list[dict[str, Any]]) -> list[str]:
    """Write what is paid beside the clips at the offers that can, once for each provider."""
    found: dict[str, list[str]] = {}
    for each in quotes:
        if each["can"] and each["fees"]:
            found[each["provider"]] = [
                f"{fee['name']} ${fee['usd']}{'-' + fee['usd_most'] if fee['usd_most'] else ''} per {fee['per']}"
                for fee in each["fees"]
            ]
    return [f"beside the clips, {provider}: {'; '.join(lines)}" for provider, lines in found.items()]
