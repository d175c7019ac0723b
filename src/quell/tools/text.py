"""Text files as they are on disk: encoding, byte order mark and line endings, kept when a part is replaced.

`Document.text` is what a model sees and edits: characters, lines ended by "\\n". `Document.splice` puts changes into the file as it is:
bytes that were not touched stay what they were, also in a file with mixed line endings or with bytes that are no UTF-8.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Encoding = Literal["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "latin-1"]

_MARKS: dict[Encoding, bytes] = {
    "utf-8": b"",
    "utf-8-sig": b"\xef\xbb\xbf",
    "utf-16-le": b"\xff\xfe",
    "utf-16-be": b"\xfe\xff",
    "latin-1": b"",
}
_SNIFFED = 8192
_MULTIBYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")


class Unwritable(Exception):
    """The new text has characters that the file's encoding has not."""


class Change(Struct, frozen=True):
    """Replace `text[start:end]` by `new`."""

    start: int
    end: int
    new: str


class Document(Struct, frozen=True):
    """`raw` has the file's own line endings; `crlf` are the positions in `text` of the line breaks that are two characters there."""

    raw: str
    text: str
    encoding: Encoding
    crlf: tuple[int, ...]
    note: str = ""

    @property
    def windows(self) -> bool:
        """Whether most lines end in CR LF: then new lines do, too."""
        return 2 * len(self.crlf) > self.text.count("\n")

    def splice(self, changes: Sequence[Change]) -> str:
        """The raw text with the changes (in order, not overlapping) made."""
        pieces: list[str] = []
        done = 0
        for change in changes:
            start, end = self._raw(change.start), self._raw(change.end)
            pieces += [self.raw[done:start], self._ended(change)]
            done = end
        return "".join([*pieces, self.raw[done:]])

    def with_raw(self, raw: str) -> Document:
        """The same file with other content."""
        return _document(raw, self.encoding, self.note)

    def encode(self, raw: str) -> bytes:
        try:
            # What could not be decoded was kept as lone surrogates; only where that was so may they come back.
            errors = "surrogateescape" if self.encoding == "utf-8" and self.note else "strict"
            return _MARKS[self.encoding] + raw.encode(self.encoding.removesuffix("-sig"), errors)
        except UnicodeEncodeError as error:
            character = raw[error.start]
            raise Unwritable(
                f"the file is encoded as {self.encoding}, which has no character {character!r} (U+{ord(character):04X})"
            ) from None

    def _raw(self, position: int) -> int:
        return position + bisect_left(self.crlf, position)

    def _ended(self, change: Change) -> str:
        if not self.crlf:
            return change.new
        new = change.new.replace("\r\n", "\n")
        end = self.text.find("\n", change.start)  # of the line that the change begins in
        index = bisect_left(self.crlf, end)
        windows = self.windows if end < 0 else index < len(self.crlf) and self.crlf[index] == end
        return new.replace("\n", "\r\n") if windows else new


def decode(content: bytes) -> Document | None:
    """None when it is not text."""
    for encoding in ("utf-8-sig", "utf-16-le", "utf-16-be"):
        mark = _MARKS[encoding]
        if content.startswith(mark) and not content.startswith(b"\xff\xfe\0\0"):
            try:
                return _document(content[len(mark) :].decode(encoding.removesuffix("-sig")), encoding, "")
            except UnicodeDecodeError:
                if encoding != "utf-8-sig":
                    return None
    if looks_binary(content):
        return None
    try:
        return _document(content.decode("utf-8"), "utf-8", "")
    except UnicodeDecodeError:
        pass
    if _MULTIBYTE.search(content):
        note = "Some bytes are not valid UTF-8; they are shown as \ufffd and are kept as they are."
        return _document(content.decode("utf-8", "surrogateescape"), "utf-8", note)
    return _document(content.decode("latin-1"), "latin-1", "The file is not UTF-8; it is read as Latin-1.")


def looks_binary(content: bytes) -> bool:
    start = content[:_SNIFFED]
    return b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff"))


def new_document() -> Document:
    return _document("", "utf-8", "")


def _document(raw: str, encoding: Encoding, note: str) -> Document:
    if "\r\n" not in raw:
        return Document(raw, raw, encoding, (), note)
    positions = [match.start() for match in re.finditer("\r\n", raw)]
    crlf = tuple(position - before for before, position in enumerate(positions))
    return Document(raw, raw.replace("\r\n", "\n"), encoding, crlf, note)
