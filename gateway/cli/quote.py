"""``reelgate quote``: what every offer would charge."""

import json
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Column, Table

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


def quotes_table(quotes: list[dict[str, Any]]) -> Table:
    """Draw quotes as a table, the ones that can first; ``place`` is the order they would be tried in."""
    table = Table(
        Column("place", justify="right"), Column("offer", no_wrap=True), "price", "clip", "wait", "price from",
        title="Quotes",
    )  # fmt: skip
    for each in quotes:
        offer = each["offer"] if each["account"] == each["provider"] else f"{each['offer']} ({each['account']})"
        if each["can"]:
            clip = clip_of(each["spec"])
            table.add_row(
                str(each["place"]), offer, price_of(each), clip, wait_of(each["expected_seconds"]), each["price_source"]
            )
        else:
            why = "; ".join(reason["message"] for reason in each["reasons"])
            table.add_row("", offer, "-", why, "", "", style="dim")
    return table


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
