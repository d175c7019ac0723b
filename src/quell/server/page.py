"""A session as one page of HTML, for people to read, keep and pass on: what was asked, said and done, with long outputs folded.

Rules: whatever comes from people, models, tools or files is text, and gets into the page through `escaped` only. The page needs nothing
else: no script, no address that is asked for anything, one style sheet of its own; its policy says so to browsers, should a mistake be
made here all the same. It is written in pieces, so that a long session does not keep others waiting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import assert_never

import msgspec

from quell.core.hooks import HookReport
from quell.core.messages import Reasoning, Text, ToolCall, ToolResult, Usage, headline
from quell.core.session import Summary
from quell.core.view import AssistantItem, CallItem, Item, NoticeItem, QueueItem, RequestView, UserItem, View

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
HEADERS = (("content-security-policy", POLICY), ("x-content-type-options", "nosniff"))

LONG_LINES, LONG_TEXT = 16, 2_000
"""An output with more lines, or more characters, is folded."""

HEADLINE = 120
_ARGUMENTS = ("command", "file_path", "pattern", "path", "url", "query", "prompt")
"""What names a call best, first one first."""

# What a parser of HTML refuses or changes, and what makes a line read otherwise than it is (the overrides of direction), is made visible.
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"}
_CONTROLS |= {0x7F: "\u2421"} | dict.fromkeys([*range(0x80, 0xA0), 0xFFFE, 0xFFFF], "\ufffd")
_CONTROLS |= {code: f"[U+{code:04X}]" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_ODD = re.compile("[" + "".join(re.escape(chr(code)) for code in _CONTROLS) + "]")

STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --dim: #59636e; --back: #fff; --box: #f6f8fa; --line: #d1d9e0; --accent: #0550ae;
  --bad: #b42318; --warn: #8a5300; --plus: #116329; --plus-back: #dafbe1; --minus: #82071e; --minus-back: #ffebe9; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9198a1; --back: #0d1117; --box: #161b22; --line: #30363d;
  --accent: #79c0ff; --bad: #ff7b72; --warn: #e3b341; --plus: #7ee787; --plus-back: #12311e; --minus: #ffa198; --minus-back: #3c1618; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 60rem; color: var(--text); background: var(--back);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
h3 { font: .9rem/1.5 ui-monospace, monospace; margin: 0; }
h2 small, time, .dim, summary { color: var(--dim); font-weight: normal; font-size: .85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; font-size: .9rem; }
dt { color: var(--dim); } dd { margin: 0; }
header { border-bottom: 1px solid var(--line); padding-bottom: 1.25rem; }
.said, pre { white-space: pre-wrap; unicode-bidi: plaintext; }
.user .said { border-left: 3px solid var(--accent); padding: .35rem .9rem; background: var(--box); }
.call { margin: .75rem 0; border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem; }
.bad { color: var(--bad); } .warn { color: var(--warn); }
.notice { color: var(--dim); margin: 1rem 0; font-size: .9rem; }
pre { font: .85rem/1.45 ui-monospace, monospace; tab-size: 4; margin: .4rem 0 0; padding: .5rem .75rem; background: var(--box); border-radius: 4px; }
details { margin: .4rem 0; } p.dim { margin: .25rem 0; } summary { cursor: pointer; }
ins, del { text-decoration: none; }
ins { color: var(--plus); background: var(--plus-back); } del { color: var(--minus); background: var(--minus-back); }
.hunk { color: var(--dim); }
@media print { :root { --text: #000; --dim: #444; --back: #fff; --box: #fff; --line: #999; --accent: #000; --bad: #000; --warn: #000;
  --plus: #000; --plus-back: #fff; --minus: #000; --minus-back: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; } h1, h2, h3, summary { break-after: avoid; } .notice { break-inside: avoid; }
  pre { border: 1px solid var(--line); } ins { font-weight: bold; } del { text-decoration: line-through; } }
"""


def escaped(text: str) -> str:
    """As it may stand anywhere between tags, and in an attribute with quotes."""
    text = text.replace("\r\n", "\n")
    if _ODD.search(text):
        text = text.translate(_CONTROLS)
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&#39;")
    )


def to_html(session: Summary, view: View) -> Iterator[bytes]:
    """As both are at this moment; written as it is asked for."""
    items, waiting, asking = tuple(view.items), tuple(view.queue), tuple(view.requests)
    pieces = chain(
        (_head(session),),
        (_item(item, session.model) for item in items),
        (_waiting(item) for item in waiting),
        (_asking(request) for request in asking),
        ("</main>\n</body>\n</html>\n",),
    )
    return (piece.encode("utf-8", "replace") for piece in pieces)


def _head(session: Summary) -> str:
    title = escaped(session.title or f"Session {session.id}")
    rows = {
        "Session": session.id,
        "Folder": session.workspace,
        "Model": session.model,
        "Mode": session.mode,
        "When": f"{_when(session.created)} – {_when(session.updated)}",
        "Tokens": _tokens(session.usage),
        "Cost": f"${session.cost}" if session.cost else "",
        "State": "busy when this was written" if session.busy else "",
    }
    facts = "".join(f"<dt>{name}</dt><dd>{_isolated(value)}</dd>" for name, value in rows.items() if value)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<meta name="referrer" content="no-referrer">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1><bdi>{title}</bdi></h1>\n<dl>{facts}</dl>\n</header>\n<main>\n"
    )


def _item(item: Item, model: str) -> str:
    match item:
        case UserItem():
            whose = "User, while it worked" if item.steered else "User"
            return _section("user", f"{whose} {_time(item.at)}", item.id, [_said(item.text), *_files(item.attachments)])
        case AssistantItem():
            return _assistant(item, model)
        case CallItem():
            return _call(item)
        case NoticeItem(kind="compacted"):
            return _section("notice", f"Summary of what came before {_time(item.at)}", "", [_said(item.text)])
        case NoticeItem():
            return f'<p class="notice">· {_isolated(item.text or item.kind)} {_time(item.at)}</p>\n'
        case _:
            assert_never(item)


def _assistant(item: AssistantItem, model: str) -> str:
    """The model is named where it is another one than the session's."""
    shown = [_part(part) for part in item.parts]
    if item.error is not None:
        shown.append(f'<p class="bad">Failed: {_isolated(item.error)}</p>\n')
    elif item.stop_reason not in ("end_turn", "tool_use"):
        shown.append(f'<p class="warn">Stopped: {_isolated(item.stop_reason)}</p>\n')
    if not any(shown):
        return ""  # only calls, which follow
    named = f" <small>{_isolated(item.model)}</small>" if item.model not in ("", model) else ""
    return _section("assistant", f"Assistant {_time(item.at)}{named}", item.id, shown)


def _part(part: Text | Reasoning | ToolCall) -> str:
    match part:
        case Text():
            return _said(part.text)
        case Reasoning():
            text = part.text.strip("\n")
            return (
                _folded("Reasoning", text)
                if text
                else '<p class="dim">Reasoning, which the provider does not show</p>\n'
            )
        case ToolCall():
            return ""  # the item that follows
        case _:
            assert_never(part)


def _call(item: CallItem) -> str:
    named, rest = _input(item.input)
    said, style = _state(item)
    name = f"<b>{_isolated(item.name)}</b> {_isolated(named)}".rstrip()
    state = f' <span class="{style}">· {_isolated(said)}</span>' if said else ""
    hooks = "".join(_hook(hook) for hook in item.hooks)
    result = "" if item.result is None else _result(item.result)
    return f'<section class="call" id="{escaped(item.id)}">\n<h3>{name}{state}</h3>\n{hooks}{rest}{result}</section>\n'


def _input(input: str) -> tuple[str, str]:
    """What stands in the line of a call, and the arguments, where that is not all of them."""
    try:
        fields = msgspec.json.decode(input or "{}", type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return "", _folded("Input, which is no JSON object", input)
    arguments = {name: _argument(bytes(value)) for name, value in fields.items()}
    named = next((arguments[name] for name in _ARGUMENTS if name in arguments), "")
    line = headline(named, HEADLINE)
    if len(arguments) <= 1 and line == named:
        return line, ""
    return line, _folded("Input", "\n".join(f"{name}: {_hanging(value)}" for name, value in arguments.items()))


def _argument(value: bytes) -> str:
    """A text as it is, anything else as JSON."""
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return value.decode("utf-8", "replace")


def _hanging(value: str) -> str:
    return "\n" + "\n".join(f"    {line}" for line in value.splitlines()) if "\n" in value else value


def _state(item: CallItem) -> tuple[str, str]:
    """What became of a call, and how that is shown; nothing for plain success."""
    if item.result is None:
        return item.status.replace("_", " "), "warn"
    status, metadata = item.result.status, item.result.metadata
    if status == "failed":
        return "failed", "bad"
    if status != "completed":
        return "outcome unknown: the server stopped in the middle of it" if status == "unknown" else status, "warn"
    if metadata.get("signal"):
        return f"ended by signal {metadata['signal']}", "warn"
    if metadata.get("exit"):
        return f"exit {metadata['exit']}", "warn"
    if metadata.get("running"):
        return "runs on in the background", "warn"
    if "additions" in metadata and "removals" in metadata:
        return f"+{metadata['additions']} −{metadata['removals']}", "dim"
    return "", "dim"


def _result(result: ToolResult) -> str:
    diff = result.metadata.get("diff")
    shown = _diff(diff) if isinstance(diff, str) and diff else ""
    text = result.text.strip("\n")
    if shown:
        shown += _folded("What the model was told", text)
    elif text:
        count = text.count("\n") + 1
        is_long = count > LONG_LINES or len(text) > LONG_TEXT
        size = f"{count:,} lines" if count > 1 else f"{len(text):,} characters"
        shown = _folded(f"Output, {size}", text) if is_long else _verbatim(text)
    for image in result.images:
        size = f", {image.width} × {image.height}" if image.width and image.height else ""
        shown += f'<p class="dim">Image, which is not in this page: {_isolated(image.name)} ({escaped(image.media_type)}{size})</p>\n'
    return shown


def _diff(text: str) -> str:
    lines = [_diff_line(number, line) for number, line in enumerate(text.removesuffix("\n").split("\n"))]
    return "<pre>" + "\n".join(lines) + "</pre>\n"


def _diff_line(number: int, line: str) -> str:
    shown = escaped(line)
    if line.startswith("@@") or (number < 2 and line.startswith(("--- ", "+++ "))):
        return f'<span class="hunk">{shown}</span>'
    if line.startswith("+"):
        return f"<ins>{shown}</ins>"
    return f"<del>{shown}</del>" if line.startswith("-") else shown


def _hook(hook: HookReport) -> str:
    said = "failed" if hook.failed else "stops the run" if hook.halt else hook.decision
    why = f": {_isolated(hook.reason)}" if hook.reason else ""
    return f'<p class="notice">Hook {_isolated(hook.name)} · {said}{why}</p>\n' if said != "none" or why else ""


def _waiting(item: QueueItem) -> str:
    state = "Parked" if item.parked else "Waiting"
    return _section(
        "user", f"{state} {_time(item.accepted)}", item.id, [_said(item.text or item.kind), *_files(item.attachments)]
    )


def _asking(request: RequestView) -> str:
    why = f": {_isolated(request.reason)}" if request.reason else ""
    return f'<p class="notice warn">Waits for a person: {_isolated(request.title)}{why}</p>\n'


def _section(kind: str, title: str, id: str, parts: list[str]) -> str:
    name = f' id="{escaped(id)}"' if id else ""
    return f'<section class="{kind}"{name}>\n<h2>{title}</h2>\n{"".join(parts)}</section>\n'


def _said(text: str) -> str:
    text = text.strip("\n")
    return f'<div class="said">{escaped(text)}</div>\n' if text.strip() else ""


def _files(names: list[str]) -> list[str]:
    return [f'<p class="dim">Attached: {_isolated(name)}</p>\n' for name in names]


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>{_verbatim(text)}</details>\n"


def _verbatim(text: str) -> str:
    return f"<pre>\n{escaped(text)}</pre>\n"  # a line end at the beginning is not a part of it


def _isolated(text: str) -> str:
    """Whichever way it is written, what stands around it keeps its place."""
    return f"<bdi>{escaped(text)}</bdi>" if text else ""


def _time(at: str) -> str:
    return f'<time datetime="{escaped(at)}">{escaped(_when(at))}</time>'


def _when(at: str) -> str:
    """`2026-11-27T01:31:22.123Z`, to the minute."""
    return f"{at[:10]} {at[11:16]} UTC" if at[10:11] == "T" and at.endswith("Z") else at


def _tokens(usage: Usage) -> str:
    sent = usage.input + usage.cache_read + usage.cache_write
    if not sent and not usage.output:
        return ""
    cached = f" ({usage.cache_read:,} of them from the cache)" if usage.cache_read else ""
    return f"{sent:,} in{cached}, {usage.output:,} out"
