"""
Carry httpx requests over aiohttp's connections.

httpx's own pool is quadratic in waiting requests and several times dearer per call. The published bridge
reports a connection that dies *after* the request was sent as ``httpx.ConnectTimeout``; to a buyer those
are opposites (not sent: may be sent again; sent: never). So this one keeps them apart.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import httpx
from yarl import URL


class AiohttpTransport(httpx.AsyncBaseTransport):
    """
    Send requests through one aiohttp session, opened on first use.

    Environment proxies, cookies and redirects play no part; bodies are passed on as they were sent.
    """

    def __init__(self, *, connections: int = 256) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send one request.

        :raises httpx.ConnectError: no connection was made, so nothing was sent.
        :raises httpx.ReadError: the connection ended after it was made.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._connections, ssl=ssl.create_default_context(), ttl_dns_cache=30
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type", "Accept"),
            )
        timeout = request.extensions.get("timeout", {})
        with _as_httpx():
            response = await self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=[(key.decode("ascii"), value.decode("latin-1")) for key, value in request.headers.raw],
                data=request.content or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=timeout.get("pool"),
                    sock_connect=timeout.get("connect"),
                    sock_read=timeout.get("read"),
                ),
            )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Body(httpx.AsyncByteStream):
    """Pass an answer's bytes on as they arrive."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        # A body read to its end has given its connection back already.
        self._response.close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Name aiohttp's errors in httpx's words; only a connection never made counts as not sent."""
    try:
        yield
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
        raise httpx.ConnectError(type(error).__name__) from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise httpx.UnsupportedProtocol(type(error).__name__) from error
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise httpx.ReadTimeout(type(error).__name__) from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.ReadError(type(error).__name__) from error
