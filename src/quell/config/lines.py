"""Where in a TOML file a key stands: the parser of the standard library does not tell.

`key_lines` walks through a text that was parsed already, so that it may trust it: it only has to know where keys,
strings and brackets begin and end. Used for error messages alone.
"""

from __future__ import annotations

import re

Key = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_NAME = re.compile(r'[ \t]*(?:([A-Za-z0-9_-]+)|"((?:[^"\\]|\\.)*)"|\'([^\']*)\')[ \t]*')
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\]|\\.)*"|\'[^\']*\'', re.DOTALL)
_PLAIN = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, of each key and of each element of an array. Keys of tables are written out in full."""
    return _Walk(text).lines


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Key, int] = {}
        self._tables: dict[Key, int] = {}
        self._document()

    def _document(self) -> None:
        table: Key = ()
        while self._skip():
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)

    def _skip(self) -> bool:
        """Blanks and comments; whether anything is left."""
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.at < len(self.text)

    def _header(self) -> Key:
        repeated = self.text.startswith("[[", self.at)
        start = self.at
        self.at += 2 if repeated else 1
        key = self._name()
        self.at += 2 if repeated else 1
        if repeated:
            self._tables[key] = self._tables.get(key, -1) + 1
            key = (*key, self._tables[key])
        self._note(key, start)
        return key

    def _name(self) -> Key:
        names: list[str] = []
        while match := _NAME.match(self.text, self.at):
            names.append(next(group for group in match.groups() if group is not None))
            self.at = match.end()
            if not self.text.startswith(".", self.at):
                break
            self.at += 1
        return tuple(names)

    def _pair(self, table: Key) -> None:
        start = self.at
        key = (*table, *self._name())
        self._note(key, start)
        self.at += 1  # the equals sign
        self._value(key)

    def _note(self, key: Key, at: int) -> None:
        line = self.text.count("\n", 0, at) + 1
        for end in range(1, len(key) + 1):
            self.lines.setdefault(key[:end], line)

    def _value(self, key: Key) -> None:
        self._skip()
        opening = self.text[self.at : self.at + 1]
        if opening == "[":
            self.at += 1
            index = 0
            while self._skip() and not self.text.startswith("]", self.at):
                self._note((*key, index), self.at)
                self._value((*key, index))
                index += 1
                self._comma()
            self.at += 1
        elif opening == "{":
            self.at += 1
            while self._skip() and not self.text.startswith("}", self.at):
                self._pair(key)
                self._comma()
            self.at += 1
        else:
            match = _STRING.match(self.text, self.at) or _PLAIN.match(self.text, self.at)
            self.at = match.end() if match else len(self.text)

    def _comma(self) -> None:
        self._skip()
        if self.text.startswith(",", self.at):
            self.at += 1
