"""What can be set."""

from __future__ import annotations

from msgspec import Struct


class SearchOptions(Struct, frozen=True, kw_only=True):
    """`provider` is a name of `search.ENGINES`; None: searching is off. `key_variable` may hold the key, `key` is one."""

    provider: str | None = None
    base_url: str | None = None
    key: str | None = None
    key_variable: str | None = None


class Options(Struct, frozen=True, kw_only=True):
    """`allow_private` are host names, addresses and networks that may be asked although they are not public.

    `proxy` is the URL of a proxy that everything goes through; the environment's variables are not followed (docs/decisions/0017).
    """

    allow_private: tuple[str, ...] = ()
    proxy: str | None = None
    search: SearchOptions = SearchOptions()
