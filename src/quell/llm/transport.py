"""HTTP to providers: pools of connections, their limits and timeouts, shared by the dialects."""

from __future__ import annotations

import functools
import ssl

import httpx2

from quell import __version__
from quell.core.errors import ModelFailed
from quell.core.web import HERE
from quell.llm.network import Network
from quell.llm.providers import Access

AGENT = f"quell/{__version__}"
NO_KEY = "none"
"""What an SDK is given where there is no key: it insists on one, and servers that need none ignore it."""

CONNECT_TIMEOUT = 10.0


def pool(access: Access, via: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """A pool without a ceiling: how many sessions run at once is decided elsewhere. `via` takes the place of the network.

    Raises `ModelFailed` when the environment names certificates or a proxy that cannot be used.
    """
    try:
        trust = _trust()
    except OSError as error:
        said = f"the certificates that are to be trusted cannot be read ({error}): mend SSL_CERT_FILE or SSL_CERT_DIR"
        raise ModelFailed("invalid_request", said) from None
    try:
        client = httpx2.AsyncClient(
            transport=via,
            mounts={f"all://{host}": None for host in HERE},  # directly, whatever the environment says of proxies
            verify=trust,
            timeout=timeout(access),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=60.0),
            follow_redirects=True,
        )
    except ValueError as error:
        said = f"a proxy that the environment names cannot be used ({error}): mend HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
        raise ModelFailed("invalid_request", said) from None
    for transport in (client._transport, *client._mounts.values()):  # there is one for each proxy of the environment
        if isinstance(transport, httpx2.AsyncHTTPTransport):
            transport._pool._network_backend = Network()
    return client


def timeout(access: Access) -> httpx2.Timeout:
    """Time to connect, and how long either side may be silent. How long an answer takes in all is not limited."""
    idle = access.provider.idle_timeout
    return httpx2.Timeout(connect=CONNECT_TIMEOUT, read=idle, write=idle, pool=None)


@functools.cache
def _trust() -> ssl.SSLContext:
    """One context for all: loading the certificates takes longer than anything else here."""
    return httpx2.create_ssl_context()
