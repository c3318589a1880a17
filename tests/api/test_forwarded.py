"""Laws of links behind a proxy that speaks TLS: they say https by the word of the operator's proxies alone."""

from pathlib import Path
from typing import Any

import pytest

from gateway.door.guesses import networks, scheme_of
from tests.outside import gateway, world

ORDER = {"model": "google/veo-3.1-fast", "prompt": "a kite"}


@pytest.mark.parametrize(
    ("host", "said", "scheme"),
    [
        ("10.0.0.5", ["https"], "https"), ("10.0.0.5", ["HTTPS, http"], "https"), ("10.0.0.5", ["http"], "http"),
        ("::ffff:10.0.0.5", ["https"], "https"), ("10.0.0.6", ["https"], ""), ("", ["https"], ""),
        ("10.0.0.5", [], ""), ("10.0.0.5", ["javascript"], ""),
    ],
)  # fmt: skip
def test_a_scheme_is_believed_of_a_proxy(host: str, said: list[str], scheme: str) -> None:
    """The first of several is how the client spoke; what is neither says nothing."""
    assert scheme == scheme_of(host, said, networks(["10.0.0.5"]))


@pytest.mark.parametrize(
    ("server", "begins"),
    [
        ({"proxies": ["127.0.0.0/8"]}, "https://localhost/api/v1/"), ({}, "http://localhost/api/v1/"),
        ({"proxies": ["10.0.0.5"]}, "http://localhost/api/v1/"),
        ({"public_url": "http://video.example.com/"}, "http://video.example.com/api/v1/"),
    ],
)  # fmt: skip
async def test_links_are_what_the_client_can_follow(tmp_path: Path, server: dict[str, Any], begins: str) -> None:
    """The operator's own word comes first."""
    with world() as outside:
        async with gateway(tmp_path, outside.outbound(), server=server) as client:
            made = await client.post("/api/v1/videos", json=ORDER, headers={"x-forwarded-proto": "https"})

    assert made.json()["polling_url"].startswith(begins), made.text
