"""Sign calls with an account's credentials, and only those that go where the credentials are known."""

from collections.abc import Generator, Mapping

import httpx

from providers.base.wire import parsed


def origin(url: str | httpx.URL) -> tuple[str, str, int | None]:
    """
    Read who an address belongs to: its scheme, host and port.

    >>> origin("https://a.test/v1") == origin("https://A.test:443/v2")
    True
    """
    read = parsed(url) if isinstance(url, str) else url
    return read.scheme, read.host, read.port


class HomeAuth(httpx.Auth):
    """Add headers to calls to an account's own address, and to no other: clips and redirects lead elsewhere."""

    def __init__(self, home: str, headers: Mapping[str, str]) -> None:
        self._home = origin(home)
        self._headers = headers

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one call."""
        if origin(request.url) == self._home:
            request.headers.update(self._headers)
        yield request
