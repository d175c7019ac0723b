"""HTML to Markdown, or to plain text, in one pass and in time that grows with the length only, whatever the page is made of.

`tokens` cuts a page into tags and texts, `Writer` is told of them and writes. Tags that are not closed, or were never opened, are taken as a
browser would more or less take them; nothing here can fail. Pages are hostile: the usual parsers of Python take minutes for pages
that are made for it, or end at their depth (docs/decisions/0017).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import urljoin

from msgspec import Struct

_OPENS = re.compile(r"<(?:(/?)([A-Za-z][A-Za-z0-9:-]{0,40})|!--|[!?])")
_ATTRIBUTE = re.compile(r"""([A-Za-z][A-Za-z0-9-]*)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_LONG_NUMBER = re.compile(r"&#[0-9]{9,}")
_SPACE = re.compile(r"[ \t\r\n\f\xa0]+")
_WITH_ATTRIBUTES = frozenset({"a", "img", "code", "pre", "ol", "base", "div"})
_ATTRIBUTES = 4096
"""Characters of a tag that are looked through for attributes."""
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "noembed", "noframes", "iframe"})
"""Their content is text whatever it looks like, up to the closing tag."""


class Tag(Struct, frozen=True):
    name: str
    closes: bool = False
    attributes: dict[str, str] = {}


def tokens(page: str) -> Iterator[Tag | str]:
    """Tags and texts in order; the texts with their references resolved. Every character is looked at a few times at most."""
    at = 0
    while at < len(page):
        found = _OPENS.search(page, at)
        if found is None:
            yield _text(page[at:])
            return
        if found.start() > at:
            yield _text(page[at : found.start()])
        if found[0] == "<!--":
            end = page.find("-->", found.start() + 2)  # `<!-->` is one, too
            at = len(page) if end < 0 else end + 3
            continue
        end = _tag_end(page, found.end())
        if found[2] is None:
            at = end
            continue
        name = found[2].lower()
        attributes = _attributes(page[found.end() : min(end, found.end() + _ATTRIBUTES)], name)
        yield Tag(name, bool(found[1]), attributes)
        at = end
        if name in _RAW and not found[1]:
            closing = re.compile(f"</{name}", re.IGNORECASE).search(page, at)
            end = closing.start() if closing else len(page)
            if name == "title":
                yield _text(page[at:end])
            at = end


def _tag_end(page: str, at: int) -> int:
    """After the `>` that is not inside of quotes. Where there is none, the rest of the page is this tag."""
    end = page.find(">", at)
    while end >= 0:
        for quote in "\"'":
            if page.count(quote, at, end) % 2 and page.rfind("=", at, end) >= 0:
                closing = page.find(quote, end)
                if 0 <= closing - end < _ATTRIBUTES:
                    at, end = closing + 1, page.find(">", closing + 1)
                    break
        else:
            return end + 1
    return len(page)


def _attributes(text: str, name: str) -> dict[str, str]:
    if name not in _WITH_ATTRIBUTES:
        return {}
    return {key.lower(): _text(one or two or three) for key, one, two, three in _ATTRIBUTE.findall(text)}


def _text(text: str) -> str:
    return html.unescape(_LONG_NUMBER.sub("\ufffd", text)) if "&" in text else text


_SKIPPED = frozenset(
    {"script", "style", "template", "svg", "iframe", "object", "canvas", "nav", "select", "noembed", "noframes"}
)
_BREAKS = frozenset(
    {
        "address",
        "article",
        "aside",
        "body",
        "br",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "main",
        "p",
        "search",
        "section",
        "summary",
        "thead",
        "tbody",
        "tfoot",
        "div",
    }
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*", "code": "`", "kbd": "`", "samp": "`", "del": "~~", "s": "~~"}
_DEEPEST = 24
"""Lists, quotations and marks inside of each other that are shown as such."""


_MOST = 200_000
"""Tags and texts of a page that are read: a bound on the time that a page made of nothing else takes."""


class Written(Struct, frozen=True):
    """`cut`: the page had more in it than is read."""

    title: str
    text: str
    cut: bool = False


def to_markdown(page: str, url: str, *, plain: bool = False) -> Written:
    """The page at `url`; `plain`: without marks and addresses. Navigation is left out, unless nothing else is there."""
    for skipped in (_SKIPPED, _SKIPPED - {"nav"}):
        writer = Writer(url, plain)
        whole, cut = _write(page, writer, skipped)
        written = writer.finish(cut)
        if whole and written.text:
            return written
    writer = Writer(url, plain)
    _, cut = _write(page, writer, frozenset({"script", "style"}))
    return writer.finish(cut)


def _write(page: str, writer: Writer, skipped: frozenset[str]) -> tuple[bool, bool]:
    """Whether what is skipped was closed (else too much was skipped), and whether there was more than is read."""
    inside, depth, based = "", 0, False
    for number, token in enumerate(tokens(page)):
        if number == _MOST:
            return True, True
        if inside:
            if isinstance(token, Tag) and token.name == inside:
                depth += -1 if token.closes else 1
                inside = inside if depth else ""
        elif isinstance(token, str):
            writer.text(token)
        elif token.name in skipped and not token.closes:
            inside, depth = token.name, 1
        elif token.name == "base" and based:
            pass  # only the first one counts
        else:
            based = based or token.name == "base"
            writer.tag(token)
    return not inside, False


class _Open(Struct):
    """A mark or a link whose end has not come yet: where in the line it began."""

    name: str
    start: int
    target: str = ""


class _Holder(Struct):
    """A list item or a quotation around what is written: how its first line begins, and the others."""

    name: str
    first: str
    rest: str


class Writer:
    """Collects a line of inline text at a time, and puts finished ones among the blocks."""

    def __init__(self, url: str, plain: bool) -> None:
        self._url = url
        self._plain = plain
        self._title: list[str] | None = None
        self._blocks: list[str] = []
        self._line: list[str] = []
        self._open: list[_Open] = []
        self._holders: list[_Holder] = []
        self._lists: list[int | None] = []
        self._heading = 0
        self._code: str | None = None
        self._rows: list[list[str]] | None = None

    def finish(self, cut: bool) -> Written:
        self._end_code()
        self._end_table()
        self._end_line()
        title = _SPACE.sub(" ", "".join(self._title or ())).strip()
        return Written(title, "".join(self._blocks).strip("\n"), cut)

    def text(self, text: str) -> None:
        if self._code is not None:
            self._line.append(text)
        elif self._title is not None and self._title[-1:] == [""]:
            self._title[-1] = text
        elif self._line or not text.isspace():
            self._line.append(_SPACE.sub(" ", text))

    def tag(self, tag: Tag) -> None:
        name = tag.name
        if name == "pre" or (self._code is not None and name != "code"):
            self._pre(tag)
        elif name == "title":
            if not tag.closes and self._title is None:
                self._title = [""]
        elif name == "base":
            self._url = self._address(tag.attributes.get("href", "")) or self._url
        elif name in _HEADINGS:
            self._end_line()
            self._heading = 0 if tag.closes else _HEADINGS[name]
        elif name in ("ul", "ol", "menu", "li", "blockquote"):
            self._holder(tag)
        elif name in ("table", "tr", "td", "th"):
            self._table(tag)
        elif name in _BREAKS:
            self._break(name)
        elif name == "a":
            self._link(tag)
        elif name == "img":
            self._image(tag)
        elif name == "code" and self._code is not None:
            self._code = self._code or _language(tag)
        elif name in _MARKS and not self._plain:
            self._mark(tag)

    # Inside of a line

    def _mark(self, tag: Tag) -> None:
        mark = _MARKS[tag.name]
        if not tag.closes:
            if len(self._open) < _DEEPEST and all(_MARKS.get(each.name) != mark for each in self._open):
                self._open.append(_Open(tag.name, len(self._line)))
        elif (inner := self._closed(tag.name)) is not None:
            if mark == "`" and "`" in inner[1]:
                mark = "``"
            self._line += [inner[0], f"{mark}{inner[1]}{mark}" if inner[1] else "", inner[2]]

    def _link(self, tag: Tag) -> None:
        if not tag.closes:
            self._closed_link()
            if len(self._open) < _DEEPEST:
                self._open.append(_Open("a", len(self._line), self._address(tag.attributes.get("href", ""))))
        else:
            self._closed_link()

    def _closed_link(self) -> None:
        target = next((each.target for each in self._open if each.name == "a"), None)
        inner = self._closed("a")
        if inner is not None:
            shown = f"[{inner[1]}]({target})" if target and inner[1] and not self._plain else inner[1]
            self._line += [inner[0], shown, inner[2]]

    def _closed(self, name: str) -> tuple[str, str, str] | None:
        """What is inside of the mark that ends here, with the blanks around it apart."""
        if all(each.name != name for each in self._open):
            return None
        while (last := self._open.pop()).name != name:
            pass  # marks that overlap: the inner one is dropped
        inner = "".join(self._line[last.start :])
        del self._line[last.start :]
        bare = inner.strip()
        return inner[: len(inner) - len(inner.lstrip())], bare, inner[len(inner.rstrip()) :] if bare else ""

    def _image(self, tag: Tag) -> None:
        alt = _SPACE.sub(" ", tag.attributes.get("alt", "")).strip()
        if alt:
            target = self._address(tag.attributes.get("src", ""))
            self._line.append(alt if self._plain or not target else f"![{alt}]({target})")

    def _address(self, written: str) -> str:
        if not written or written.startswith("#"):
            return ""
        try:
            address = urljoin(self._url, written.strip())
        except ValueError:
            return ""
        return _SPACE.sub("%20", address) if address.startswith(("http://", "https://", "mailto:")) else ""

    # Blocks

    def _break(self, name: str) -> None:
        if self._rows is not None:
            self._line.append(" ")
        elif name == "br" and not self._heading:
            self._line.append("\n")
        else:
            self._end_line()
            if name == "hr":
                self._block("" if self._plain else "---")

    def _holder(self, tag: Tag) -> None:
        self._end_table()
        self._end_line()
        if tag.name == "li":
            self._leave("li", within=("ul", "ol", "menu", "blockquote"))
            if not tag.closes and len(self._holders) < _DEEPEST:
                number = self._lists[-1] if self._lists else None
                first = "- " if number is None else f"{number}. "
                if self._lists and number is not None:
                    self._lists[-1] = number + 1
                self._holders.append(_Holder("li", first, " " * len(first)))
        elif tag.closes:
            self._leave(tag.name)
            if tag.name != "blockquote" and self._lists:
                self._lists.pop()
        elif len(self._holders) < _DEEPEST:
            mark = "> " if tag.name == "blockquote" and not self._plain else ""
            self._holders.append(_Holder(tag.name, mark, mark))
            if tag.name != "blockquote":
                start = tag.attributes.get("start", "1")[:6]
                self._lists.append((int(start) if start.isdecimal() else 1) if tag.name == "ol" else None)

    def _leave(self, name: str, within: tuple[str, ...] = ()) -> None:
        """Close the innermost of this name, with what is in it; but nothing around one of `within`."""
        for index in range(len(self._holders) - 1, -1, -1):
            if self._holders[index].name == name:
                del self._holders[index:]
                return
            if self._holders[index].name in within:
                return

    def _end_line(self) -> None:
        self._open.clear()
        if not self._line:
            return
        text = "".join(self._line)
        self._line.clear()
        lines = [_SPACE.sub(" ", line).strip() for line in text.strip().split("\n")]
        text = "\n".join(line for line in lines if line)
        if self._heading and text and not self._plain:
            text = f"{'#' * self._heading} {text}"
        self._block(text)

    def _block(self, text: str) -> None:
        if not text:
            return
        item = any(holder.name == "li" for holder in self._holders)
        begins = any(holder.name == "li" and holder.first != holder.rest for holder in self._holders)
        first = "".join(holder.first for holder in self._holders)
        rest = "".join(holder.rest for holder in self._holders)
        for holder in self._holders:
            holder.first = holder.rest
        # Items follow each other closely; everything else has an empty line before it.
        close = self._blocks and item and (begins or "\n" not in text)
        self._blocks.append(("\n" if close and self._in_list else "\n\n") + first + text.replace("\n", f"\n{rest}"))
        self._in_list = item

    _in_list = False

    # Code

    def _pre(self, tag: Tag) -> None:
        if tag.name != "pre":
            if tag.name == "br":
                self._line.append("\n")
        elif tag.closes:
            self._end_code()
        elif self._code is None:
            self._end_table()
            self._end_line()
            self._code = _language(tag)

    def _end_code(self) -> None:
        if self._code is None:
            return
        language, self._code = self._code, None
        text = "".join(self._line).replace("\r\n", "\n").strip("\n").rstrip()
        self._line.clear()
        if text and not self._plain:
            longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
            fence = "`" * (longest + 1)
            text = f"{fence}{language}\n{text}\n{fence}"
        self._block(text)

    # Tables

    def _table(self, tag: Tag) -> None:
        if tag.name == "table":
            nested = self._rows is not None
            self._end_table()
            self._end_line()
            if not tag.closes and not nested and not self._holders:
                self._rows = []
        elif self._rows is None:
            self._end_line()  # a table that only arranges things
        else:
            self._end_cell()
            if not tag.closes:
                if tag.name == "tr" or not self._rows:
                    self._rows.append([])
                if tag.name != "tr":
                    self._rows[-1].append("")

    def _end_cell(self) -> None:
        text = _SPACE.sub(" ", "".join(self._line)).strip()
        self._line.clear()
        self._open.clear()
        if text and self._rows:
            row = self._rows[-1]
            if not row:
                row.append("")
            row[-1] = f"{row[-1]} {text}".strip()
        elif text:
            self._block(text)

    def _end_table(self) -> None:
        """One that has been read whole, or in which something came up that has no place in a table: then so far."""
        if self._rows is None:
            return
        self._end_cell()
        rows, self._rows = [row for row in self._rows if any(row)], None
        width = max((len(row) - (len(row) > 1 and not row[-1]) for row in rows), default=0)
        if width < 2 or width > 100 or self._plain:
            for row in rows:
                self._block("  ".join(filter(None, row)))
            return
        escaped = [[cell.replace("|", "\\|") for cell in row[:width]] + [""] * (width - len(row)) for row in rows]
        lines = [f"| {' | '.join(row)} |" for row in escaped]
        self._block("\n".join([lines[0], "|" + " --- |" * width, *lines[1:]]))


def _language(tag: Tag) -> str:
    found = re.search(
        r"\b(?:language|lang|highlight|highlight-source)-([A-Za-z0-9+#-]{1,20})", tag.attributes.get("class", "")
    )
    return found[1] if found else ""
