"""What the tools of the web share: where a call goes, what is text, and what is shown of it."""

from __future__ import annotations

import asyncio
import re
from functools import partial

from msgspec import Struct

from quell.core.access import Access
from quell.core.errors import WebRefused
from quell.core.messages import printable
from quell.core.ports import Place, Workspace
from quell.core.web import Destination, Page, Web
from quell.tools.text import looks_binary
from quell.tools.tool import Options, Refused

READ = 5 * 1024 * 1024
"""Bytes of a page that are read."""
_ERROR = 2000
_ACCEPT = (
    "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, text/plain;q=0.8, application/json;q=0.8, */*;q=0.5"
)
_TEXT = re.compile(
    r"text/.*|.*[+/](?:json|xml|yaml|toml)|application/(?:(?:x-)?(?:javascript|ecmascript|yaml|toml|sh|ndjson|jsonlines|sql|httpd-php"
    r"|perl|python|ruby|tex|troff.*)|json.*|graphql|rtf|xhtml\+xml|x-www-form-urlencoded)|message/.*|multipart/.*"
)
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_CHARSET = re.compile(
    r"utf-?(?:8|16(?:le|be)?)|us-ascii|ascii|iso-?8859-\d{1,2}|latin-?1|windows-125\d|cp125\d|cp932|shift_jis|sjis|euc-jp|iso-2022-jp"
    r"|gbk|gb2312|gb18030|big5|euc-kr|koi8-[ru]|macintosh|tis-620"
)
"""Encodings of text. Python knows others of that kind which take for ever (`punycode`) or are none (`unicode_escape`)."""
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class Content(Struct, frozen=True):
    """What an address had. `cut`: there was more than is read."""

    page: Page
    title: str
    text: str
    size: int
    cut: bool


def web(options: Options) -> Web:
    if options.web is None:
        raise Refused("There is no way to the web here.")
    return options.web


def destination(options: Options, url: str) -> Destination:
    try:
        return web(options).place(url)
    except WebRefused as refusal:
        raise Refused(str(refusal)) from None


def asks(
    tool: str, title: str, where: Destination | None, workspace: Workspace, written: Place | None = None
) -> Access:
    """The access of a call that asks a host and may write a file."""
    return Access(
        tool=tool,
        kind="fetch",
        title=title,
        hosts=() if where is None else (where.host,),
        paths=() if written is None else (written.path,),
        outside=() if written is None or written.inside else (written.path,),
        root=workspace.root,
        home=workspace.place("~").path,
    )


async def read(options: Options, where: Destination, form: str, seconds: float) -> Content:
    """The text at an address: as it is, or, of HTML, as `form` says (text, markdown or html)."""
    async with web(options).visit(where, accept=_ACCEPT, seconds=seconds) as page:
        if page.media_type and not _TEXT.fullmatch(page.media_type) and page.status < 400:
            raise Refused(_no_text(page, page.media_type))
        content, cut = await _bytes(page)
    good = 200 <= page.status < 300
    if good and looks_binary(content):
        raise Refused(_no_text(page, "binary"))
    is_html = "html" in page.media_type or (
        not page.media_type and content[:200].lstrip().lower().startswith(b"<!doctype html")
    )
    text = decode(content, page.charset)
    title = ""
    if is_html and form != "html":
        from quell.tools.html import to_markdown

        written = await asyncio.to_thread(partial(to_markdown, text, page.url, plain=form == "text"))
        title, text, cut = written.title, written.text, cut or written.cut
    if not good:
        said = "" if looks_binary(content) else printable(text[:_ERROR]).strip()
        raise Refused(f"{page.url} answered with status {page.status} {page.reason}." + (said and f" It says:\n{said}"))
    return Content(page, title, text, len(content), cut)


def _no_text(page: Page, what: str) -> str:
    size = f", {page.size:,} bytes" if page.size is not None else ""
    return f"{page.url} is not text ({printable(what[:100])}{size}). `download` can put it into a file."


async def _bytes(page: Page) -> tuple[bytes, bool]:
    found = bytearray()
    async for piece in page.pieces:
        found += piece
        if len(found) > READ:
            return bytes(found[:READ]), True
    return bytes(found), False


def decode(content: bytes, charset: str) -> str:
    """By its mark, what the server says, what the page says, or what it looks like."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    meta = _META.search(content[:2048])
    for said in (charset, meta[1].decode("ascii").lower() if meta else ""):
        if _CHARSET.fullmatch(said):
            name = {"macintosh": "mac-roman", "latin1": "cp1252", "iso-8859-1": "cp1252"}.get(said, said)
            return content.decode(name, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"  # the last character, where the page was cut
        return content.decode("utf-8" if cut else "cp1252", "replace")


def facts(content: Content) -> dict[str, object]:
    """For screens."""
    page = content.page
    return {
        "url": page.url,
        "status": page.status,
        "media_type": page.media_type,
        "bytes": content.size,
        "cut": content.cut,
    }
