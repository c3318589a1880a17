"""``reelgate webhooks``: see where a running gateway tells what, and have it told again."""

from typing import Annotated

from cyclopts import App, Parameter

from gateway.cli.common import DEFAULT_URL, Url, call, client, items, moment

app = App(name="webhooks", help="List webhook endpoints, read their log, replay and enable.")

Id = Annotated[str, Parameter(name="id")]


@app.command(name="list")
def list_(*, url: Url = DEFAULT_URL) -> None:
    """List the endpoints of your API key's tenant."""
    with client(url) as gateway:
        for each in items(gateway, "/v1/webhook_endpoints"):
            types, why = " ".join(each["event_types"]), f"  {each['disabled_why']}" if each["disabled_why"] else ""
            print(f"{each['id']}  {each['status']:8}  {types}  {each['url']}  {each['name']}{why}")


@app.command
def log(id_: Id, *, url: Url = DEFAULT_URL) -> None:
    """
    Say what was sent where, and how each try went.

    Parameters
    ----------
    id_
        An endpoint's id, or a video's.
    url
        Where the gateway listens.
    """
    resource = "videos" if id_.startswith("video_") else "webhook_endpoints"
    with client(url) as gateway:
        for each in items(gateway, f"/v1/{resource}/{id_}/deliveries"):
            print(f"{each['id']}  {each['state']:9}  {each['event_type']}  {each['video_id']}  {each['url']}")
            for tried in each["tries"]:
                said, took = tried["error"] or tried["status_code"], f"{tried['took_ms']} ms"
                print(f"    {tried['number']:3}  {moment(tried['at'])}  {took}  {said}")


@app.command
def replay(id_: Id, *, url: Url = DEFAULT_URL) -> None:
    """
    Send a delivery again, with the same webhook-id.

    Parameters
    ----------
    id_
        The delivery's id, from ``reelgate webhooks log``.
    url
        Where the gateway listens.
    """
    with client(url) as gateway:
        sent = call(gateway, "POST", f"/v1/webhook_deliveries/{id_}/replay")
    print(f"{sent['id']} is sent again to {sent['url']}")


@app.command
def enable(id_: Id, *, url: Url = DEFAULT_URL) -> None:
    """
    Tell a disabled endpoint again, beginning with what was held for it.

    Parameters
    ----------
    id_
        The endpoint's id, from ``reelgate webhooks list``.
    url
        Where the gateway listens.
    """
    with client(url) as gateway:
        enabled = call(gateway, "POST", f"/v1/webhook_endpoints/{id_}/enable")
    print(f"{enabled['id']} is enabled: {enabled['url']}")
