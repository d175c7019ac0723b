"""Asking a server on the web, guarded: the one way out for tools.

Rules: a name is looked up once, all of its addresses are judged, and the connection goes to one of those very addresses; certificate and
`Host` go by the name. Every hop of a redirect is a request like the first. Nothing is kept between requests: no cookies, no
connections, no proxies of the environment. Time is limited as a whole, so that it does not matter in what a server is slow; size is limited by
whoever reads, because content is unpacked only as it is read.

How a request looks on the wire is the business of `exchange`, which loads the HTTP library.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from quell.core.errors import WebRefused
from quell.core.web import Destination, Hit, Page
from quell.web import addresses, packing, search
from quell.web.addresses import Allowed, Target, Unreachable
from quell.web.options import Options

if TYPE_CHECKING:
    from quell.web.exchange import Answer, Request

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name, best first. Raises `OSError`."""

REDIRECTS = 10
_REDIRECTING = frozenset({301, 302, 303, 307, 308})
_TRIED = 4
"""Addresses of a name that are tried."""
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa", "localdomain")


async def look_up(name: str, port: int) -> Sequence[str]:
    """By the system's resolver. The lookup itself cannot be stopped, but nobody has to wait for its end."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def source_of(address: str) -> str | None:
    """The address that this machine would ask that one from; None when there is no way. Nothing is sent."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0]).partition("%")[0]
    except OSError:
        return None


class GuardedWeb:
    """`options` says what is set at the moment of a request; `own` is this process's environment, for the search engine's key."""

    def __init__(
        self,
        options: Callable[[], Options],
        own: Mapping[str, str],
        resolve: Resolver = look_up,
        trust: ssl.SSLContext | None = None,
        source: Callable[[str], str | None] = source_of,
    ) -> None:
        self._options = options
        self._own = own
        self._resolve = resolve
        self._trust = trust
        self._source = source

    def place(self, url: str) -> Destination:
        target = addresses.parse(url)
        if addresses.is_address(target.host):  # nobody has to be asked about what is refused afterwards
            self._judge(target, (target.host,), Allowed(self._options().allow_private))
        return Destination(url=target.url, host=target.netloc)

    @asynccontextmanager
    async def visit(self, where: Destination, *, accept: str = "*/*", seconds: float) -> AsyncIterator[Page]:
        target = addresses.parse(where.url)
        try:
            async with asyncio.timeout(seconds), AsyncExitStack() as stack:
                headers = {"Accept": accept, "Accept-Language": "en, *;q=0.5"}
                answer, target = await self._followed(target, headers, stack)
                coding = packing.check(answer.headers.get("content-encoding", ""), target.host)
                media_type, charset = _content_type(answer.headers.get("content-type", ""))
                length = answer.headers.get("content-length", "")
                pieces = await stack.enter_async_context(aclosing(packing.unpacked(answer.raw, coding, target.host)))
                yield Page(
                    url=target.url,
                    status=answer.status,
                    reason=answer.reason,
                    media_type=media_type,
                    charset=charset,
                    size=int(length) if length.isdecimal() and not coding else None,
                    pieces=pieces,
                )
        except TimeoutError:
            raise WebRefused(
                f"{target.host} did not answer completely within {seconds:g} s; it was given up."
            ) from None

    def searches(self) -> str:
        return search.engine(self._options().search).name

    async def search(self, query: str, limit: int, environment: Mapping[str, str]) -> Sequence[Hit]:
        options = self._options().search
        engine = search.engine(options)
        target, request = search.request(
            engine, options, query, limit, search.key(engine, options, environment, self._own)
        )
        try:
            async with asyncio.timeout(search.SECONDS), AsyncExitStack() as stack:
                # The user has chosen this address, so that it may be of this machine.
                answer = await self._asked(target, request, stack, chosen=True)
                coding = packing.check(answer.headers.get("content-encoding", ""), target.host)
                content = await search.content(packing.unpacked(answer.raw, coding, target.host), target.host)
        except TimeoutError:
            raise WebRefused(f"The search engine did not answer within {search.SECONDS} s.") from None
        return search.hits(engine, answer.status, content)[:limit]

    async def _followed(
        self, target: Target, headers: Mapping[str, str], stack: AsyncExitStack
    ) -> tuple[Answer, Target]:
        from quell.web.exchange import Request

        first = target
        for _ in range(REDIRECTS + 1):
            answer = await self._asked(target, Request(headers=headers), stack)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTING or location is None:
                return answer, target
            await stack.aclose()
            target = _next(target, addresses.follow(target, location))
        raise WebRefused(f"{first.url} was redirected more than {REDIRECTS} times, the last time to {target.url}.")

    async def _asked(self, target: Target, request: Request, stack: AsyncExitStack, *, chosen: bool = False) -> Answer:
        """The answer; its connection is closed with the stack."""
        from quell.web.exchange import exchange

        options = self._options()
        if options.proxy is not None:
            if not chosen:
                self._judge_name(target, Allowed(options.allow_private))
            return await stack.enter_async_context(exchange(target, request, self._trust, proxy=options.proxy))
        found = await self._addresses(target)
        if not chosen:
            self._judge(target, found, Allowed(options.allow_private))
        for address in found[:-1]:
            try:
                return await stack.enter_async_context(exchange(target, request, self._trust, address=address))
            except Unreachable:
                continue
        try:
            return await stack.enter_async_context(exchange(target, request, self._trust, address=found[-1]))
        except Unreachable as error:
            raise Unreachable(f"{error}{self._proxy_hint()}") from None

    def _proxy_hint(self) -> str:
        if not any(self._own.get(name) or self._own.get(name.lower()) for name in _PROXY_VARIABLES):
            return ""
        return (
            " The environment names a proxy, which is not followed: if it is the only way out, the user can set `proxy`"
            " under [network] in the settings."
        )

    async def _addresses(self, target: Target) -> Sequence[str]:
        if addresses.is_address(target.host):
            return (target.host,)
        try:
            found = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise Unreachable(f"The host {target.host} was not found: {reason}.{self._proxy_hint()}") from None
        if not found:
            raise WebRefused(f"The host {target.host} has no address.")
        return found[:_TRIED]

    def _judge(self, target: Target, found: Sequence[str], allowed: Allowed) -> None:
        """A name with one bad address is refused whole: which one is taken would be up to whoever answers for the name."""
        for address in found:
            if what := addresses.why_not(address, target.host, allowed, self._source(address)):
                raise _closed(target.host if address == target.host else f"{target.host} ({address})", what)

    def _judge_name(self, target: Target, allowed: Allowed) -> None:
        """Behind a proxy it is the proxy that looks names up: what can be judged is the name."""
        if addresses.is_address(target.host):
            self._judge(target, (target.host,), allowed)
        elif not allowed.has_name(target.host) and (
            "." not in target.host or any(target.host.endswith(f".{name}") for name in _LOCAL_NAMES)
        ):
            raise _closed(target.host, "a name of this machine or of a local network")


def _next(target: Target, following: Target) -> Target:
    if target.host == following.host and target.scheme == "https" and following.scheme == "http":
        raise WebRefused(f"{target.url} redirects to {following.url}, which is not encrypted; that was not followed.")
    if following.netloc != target.netloc:  # rules may name a port
        other = "host" if following.host != target.host else "port"
        raise WebRefused(
            f"{target.url} redirects to another {other}: {following.url} Nothing was asked there, because it has to be allowed"
            " by itself. If that is where you want to go, call the tool again with that URL."
        )
    return following


def _closed(shown: str, what: str) -> WebRefused:
    return WebRefused(
        f"{shown} is {what}, and such addresses are not asked. Do not look for another way to it. The user can open"
        " it with `allow_private` under [network] in the settings."
    )


def _content_type(header: str) -> tuple[str, str]:
    media_type, *parameters = (part.strip() for part in header.lower().split(";"))
    charset = next((each[8:].strip(" \"'") for each in parameters if each.startswith("charset=")), "")
    return media_type, charset
