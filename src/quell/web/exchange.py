"""One request and its answer over a connection of its own. Loaded when something is asked for the first time.

The address to connect to is given; it is put into the URL in place of the name, and the name goes into `Host` and into the certificate's
check. Redirects and what may be asked are the business of `guarded`.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from urllib.parse import unquote, urlsplit

import httpcore2
from msgspec import Struct

from quell import __version__
from quell.core.errors import WebRefused
from quell.web.addresses import Target, Unreachable, is_address
from quell.web.packing import OFFERED

AGENT = f"quell/{__version__}"
_CONNECT = 10.0
_BROKEN = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError)


class Request(Struct, frozen=True, kw_only=True):
    method: str = "GET"
    headers: Mapping[str, str] = {}
    content: bytes = b""


class Answer(Struct, frozen=True):
    """`raw` is the content as it arrives, packed or not. Names of `headers` are lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    raw: AsyncIterator[bytes]


@asynccontextmanager
async def exchange(
    target: Target,
    request: Request,
    trust: ssl.SSLContext | None = None,
    *,
    address: str | None = None,
    proxy: str | None = None,
) -> AsyncIterator[Answer]:
    """Raises `WebRefused`. Time is the caller's business, but for that of connecting."""
    headers = {
        "Host": target.netloc,
        "User-Agent": AGENT,
        "Accept-Encoding": OFFERED,
        "Connection": "close",
        **({"Content-Length": str(len(request.content))} if request.content else {}),
        **request.headers,
    }
    sent = httpcore2.Request(
        request.method,
        httpcore2.URL(
            scheme=target.scheme.encode(),
            host=(address or target.host).encode(),
            port=target.port,
            target=target.rest.encode(),
        ),
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        content=request.content,
        extensions={
            "timeout": {"connect": _CONNECT},
            **({} if is_address(target.host) else {"sni_hostname": target.host}),
        },
    )
    try:
        async with _pool(trust or _trust(), proxy) as pool:
            answer = await pool.handle_async_request(sent)
            async with aclosing(_raw(answer, target)) as raw:
                yield Answer(
                    status=answer.status,
                    reason=answer.extensions.get("reason_phrase", b"").decode("ascii", "replace"),
                    headers=_headers(answer.headers),
                    raw=raw,
                )
            await answer.aclose()
    except _BROKEN as error:
        raise _explained(error, target, proxy) from None


def _pool(trust: ssl.SSLContext, proxy: str | None) -> httpcore2.AsyncConnectionPool:
    """Of its own each time: connections are kept by address, and one of another name could be taken up."""
    if proxy is None:
        return httpcore2.AsyncConnectionPool(ssl_context=trust)
    parts = urlsplit(proxy)
    credentials = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return httpcore2.AsyncHTTPProxy(
        httpcore2.URL(scheme=parts.scheme.encode(), host=(parts.hostname or "").encode(), port=port, target=b"/"),
        proxy_auth=credentials,
        ssl_context=trust,
        proxy_ssl_context=trust if parts.scheme == "https" else None,
    )


async def _raw(answer: httpcore2.Response, target: Target) -> AsyncGenerator[bytes]:
    try:
        # Closed here and now: what is left to the collector of garbage is closed when the loop may be gone.
        async with aclosing(answer.aiter_stream()) as stream:
            async for chunk in stream:
                yield chunk
    except _BROKEN as error:
        raise _explained(error, target, None) from None


def _headers(sent: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in sent:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _explained(error: Exception, target: Target, proxy: str | None) -> WebRefused:
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    match error:
        case httpcore2.ConnectTimeout():
            return Unreachable(f"{target.host} could not be reached: no connection within {_CONNECT:g} s.")
        case httpcore2.ConnectError() if "CERTIFICATE" in reason or "SSL" in reason:
            return WebRefused(f"{target.host} could not be trusted: {reason}.")
        case httpcore2.ProxyError():
            return WebRefused(f"The proxy did not let it through: {reason}.")
        case httpcore2.ConnectError():
            through = " through the proxy" if proxy else ""
            return Unreachable(f"{target.host} could not be reached{through}: {reason}.")
        case httpcore2.RemoteProtocolError() if "complete" in reason or "disconnected" in reason:
            return WebRefused(f"The answer of {target.host} was cut short: {reason}.")
        case httpcore2.ProtocolError():
            return WebRefused(f"{target.host} does not answer as a web server does: {reason}.")
        case _:
            return WebRefused(f"The connection to {target.host} was lost: {reason}.")


@functools.cache
def _trust() -> ssl.SSLContext:
    """The system's certificates, or what SSL_CERT_FILE names. Loading them takes longer than anything else here. Raises `WebRefused`."""
    try:
        return httpcore2.default_ssl_context()
    except OSError as error:
        raise WebRefused(
            f"Nobody can be trusted: the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read ({error})."
        ) from None
