"""From what the tables hold to values, and from a search to its conditions, whatever the database is.

Rows are read in threads of their own. What decodes them is made in the event loop's, by `make_decoders`, before the first of them is read: while
msgspec looks through the kinds of a decoder, those that another thread meets as well are half known to that one, and the process dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import msgspec

from quell.core.errors import StorageRefused
from quell.core.facts import Recorded
from quell.core.messages import Reply
from quell.core.ports import Draft
from quell.core.session import Summary
from quell.wire.facts import decode, make_decoder


@cache
def _summaries() -> msgspec.json.Decoder[Summary]:
    return msgspec.json.Decoder(Summary)


@cache
def _replies() -> msgspec.json.Decoder[Reply]:
    return msgspec.json.Decoder(Reply)


def make_decoders() -> None:
    """In the thread of the loop, and not before something is to be read: a start need not wait for them."""
    make_decoder()
    _summaries()
    _replies()


def records(session: str, after: int, rows: Iterable[tuple[int, bytes | None]]) -> Sequence[Recorded]:
    """The facts in rows of `seq` and body, which have to follow each other."""
    found: list[Recorded] = []
    for number, (seq, body) in enumerate(rows, after + 1):
        if seq != number or body is None:
            raise StorageRefused(
                f"Fact {number} of session {session} is missing: the journal is damaged. "
                "It was left as it was. Restore it from a copy, or delete this session."
            )
        found.append(decode(body))
    return found


def summary(row: tuple[bytes] | None) -> Summary | None:
    return None if row is None else _summaries().decode(row[0])


def summaries(rows: Iterable[tuple[bytes]]) -> Sequence[Summary]:
    decode_summary = _summaries().decode
    return [decode_summary(row[0]) for row in rows]


def draft(row: tuple[str, bytes] | None) -> Draft | None:
    return None if row is None else Draft(row[0], _replies().decode(row[1]))


class Search(msgspec.Struct, frozen=True):
    """As in `Journal.summaries`."""

    workspace: str | None
    parent: str | None
    query: str
    limit: int
    before: str | None

    def statement(self, within: str) -> tuple[str, Sequence[str | int]]:
        """The query, each of its values a `?`. `within(text, part)` is the database's function that is 0 when there is no such part."""
        conditions: list[str] = []
        values: list[str | int] = []
        if self.workspace is not None:
            conditions.append("workspace = ?")
            values.append(self.workspace)
        if self.parent is not None:
            conditions.append("parent = ?")
            values.append(self.parent)
        if self.query:
            conditions.append(f"{within}(folded, ?) > 0")
            values.append(self.query.casefold())
        if self.before is not None:
            updated, _, id = self.before.partition(" ")
            conditions.append("(updated, id) < (?, ?)")
            values += [updated, id]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return (
            f"SELECT summary FROM sessions{where} ORDER BY updated DESC, id DESC LIMIT ?",  # noqa: S608 - of the above
            (*values, self.limit),
        )
