"""``reelgate quote``: what every offer would charge."""

import json
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Column, Table

from gateway.cli.common import DEFAULT_URL, Url, call, client


def wishes(
    *,
    prompt: str,
    model: str | None,
    seconds: int | None,
    resolution: str | None,
    aspect_ratio: str | None,
    audio: bool | None,
    seed: int | None,
) -> dict[str, Any]:
    """Write a create call with what was said, leaving the rest open."""
    said = {
        "prompt": prompt,
        "model": model,
        "seconds": seconds,
        "resolution": resolution,
        "aspect_ratio": aspect_ratio,
        "generate_audio": audio,
        "seed": seed,
    }
    return {name: value for name, value in said.items() if value is not None}


def quote(
    prompt: str,
    *,
    model: str | None = None,
    seconds: int | None = None,
    resolution: str | None = None,
    aspect_ratio: str | None = None,
    audio: bool | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """
    Show what every offer would charge for a clip, or why it cannot make it; nothing is spent.

    Parameters
    ----------
    prompt
        What the clip should show.
    model
        A model, alias or offer; ``auto`` for every model there is.
    seconds, resolution, aspect_ratio, audio
        Choices; the ones left out take each offer's default.
    json_
        Print the gateway's answer as it is.
    url
        The gateway.
    """
    body = wishes(
        prompt=prompt,
        model=model,
        seconds=seconds,
        resolution=resolution,
        aspect_ratio=aspect_ratio,
        audio=audio,
        seed=None,
    )
    with client(url) as http:
        answer = call(http, "POST", "/v1/quotes", json=body)
    if json_:
        print(json.dumps(answer, indent=2))
        return
    Console().print(quotes_table(answer["data"]))


def quotes_table(quotes: list[dict[str, Any]]) -> Table:
    """Draw quotes as a table, the ones that can first."""
    table = Table(Column("offer", no_wrap=True), "price", "clip", "price from", title="Quotes")
    for each in quotes:
        if each["can"]:
            spec = each["spec"]
            clip = (
                f"{spec['seconds']} s {spec['resolution']} {spec['aspect_ratio']}{'' if spec['audio'] else ' silent'}"
            )
            table.add_row(each["offer"], f"${each['usd']:.4f}", clip, each["price_source"])
        else:
            table.add_row(
                each["offer"], "-", "; ".join(reason["message"] for reason in each["reasons"]), "", style="dim"
            )
    return table
