"""``reelgate webhooks``: see where a running gateway tells what, and have it told again."""

from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter

from gateway.cli.common import DEFAULT_URL, Url, call, client

app = App(name="webhooks", help="List webhook endpoints, read their log, replay and enable.")

Id = Annotated[str, Parameter(name="id")]


@app.command(name="list")
def list_(*, url: Url = DEFAULT_URL) -> None:
    """List the endpoints of your API key's tenant."""
    for each in _pages(url, "/v1/webhook_endpoints"):
        why = f"  {each['disabled_why']}" if each["disabled_why"] else ""
        print(f"{each['id']}  {each['status']:8}  {' '.join(each['event_types'])}  {each['url']}  {each['name']}{why}")


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
    for each in _pages(url, f"/v1/{resource}/{id_}/deliveries"):
        print(f"{each['id']}  {each['state']:9}  {each['event_type']}  {each['video_id']}  {each['url']}")
        for tried in each["tries"]:
            at = datetime.fromtimestamp(tried["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
            print(f"    {tried['number']:3}  {at}  {tried['took_ms']} ms  {tried['error'] or tried['status_code']}")


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


def _pages(url: str, path: str) -> list[dict[str, Any]]:
    """Read a list to its end."""
    found: list[dict[str, Any]] = []
    with client(url) as gateway:
        page = call(gateway, "GET", path)
        found += page["data"]
        while page["has_more"]:
            page = call(gateway, "GET", path, params={"after": page["last_id"], "limit": 100})
            found += page["data"]
    return found
