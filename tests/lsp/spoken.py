"""A language server for tests, as a process of its own: `python spoken.py BEHAVIOUR`. It imports nothing but the standard library.

It finds an error in each line with the word `bad` and a warning in each with `odd`; a name is defined where `def NAME` stands. Behaviours:

    good    as it should be
    mute    answers nothing at all, not even how it is to begin
    deaf    begins, and answers nothing more
    linter  finds errors and warnings, and can do nothing else
    joins   as `linter`, and says after it has begun that it finds definitions, too
    points  as `good`, and counts in code points
    dies    begins, and ends at the first file
    floods  says things without end
    rude    says what is no message
    stubborn  as `deaf`, and ignores SIGTERM
"""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import Any

BEHAVIOUR = sys.argv[1] if len(sys.argv) > 1 else "good"
PROVIDERS: dict[str, Any] = (
    {"definitionProvider": False, "referencesProvider": None}
    if BEHAVIOUR in ("linter", "joins")
    else {"definitionProvider": True, "referencesProvider": {}, "documentSymbolProvider": {"label": "spoken"}}
)
texts: dict[str, str] = {}


def read() -> dict[str, Any] | None:
    length = 0
    while line := sys.stdin.buffer.readline():
        if not line.strip():
            return json.loads(sys.stdin.buffer.read(length))  # type: ignore[no-any-return]  # as it is sent
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return None


def write(**message: object) -> None:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    sys.stdout.buffer.flush()


def place(line: int, start: int, end: int) -> dict[str, Any]:
    return {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}


def diagnose(uri: str, version: int | None = None) -> None:
    found = [
        {"range": place(n, m.start(), m.end()), "severity": severity, "message": f"{m[0]} is here", "code": 7}
        for n, line in enumerate(texts[uri].split("\n"))
        for word, severity in (("bad", 1), ("odd", 2))
        for m in re.finditer(word, line)
    ]
    write(method="textDocument/publishDiagnostics", params={"uri": uri, "diagnostics": found, "version": version})


def answer(method: str, params: dict[str, Any]) -> object:
    uri = params.get("textDocument", {}).get("uri", "")
    if method == "initialize":
        write(id="r1", method="workspace/configuration", params={"items": [{}, {}]})
        counted = "utf-32" if BEHAVIOUR == "points" else "utf-16"
        return {"capabilities": {"positionEncoding": counted, "textDocumentSync": 1, **PROVIDERS}}
    if method == "shutdown":
        return None
    lines = texts[uri].split("\n")
    definitions = [(n, m) for n, line in enumerate(lines) if (m := re.search(r"def (\w+)", line))]
    if method == "textDocument/documentSymbol":
        return [
            {"name": m[1], "kind": 12, "range": place(n, 0, 9), "selectionRange": place(n, 4, 9)}
            for n, m in definitions
        ]
    at = params["position"]
    encoding, width = ("utf-32-le", 4) if BEHAVIOUR == "points" else ("utf-16-le", 2)
    line, character = lines[at["line"]].encode(encoding), width * at["character"]
    before, after = line[:character].decode(encoding), line[character:].decode(encoding)
    word = (re.findall(r"\w*$", before) or [""])[0] + (re.findall(r"^\w*", after) or [""])[0]
    if method == "textDocument/definition":
        return [{"uri": uri, "range": place(n, m.start(1), m.end(1))} for n, m in definitions if m[1] == word]
    return [
        {"uri": uri, "range": place(n, m.start(), m.end())}
        for n, text in enumerate(lines)
        for m in re.finditer(rf"\b{word}\b", text)
    ]


def main() -> None:
    if BEHAVIOUR == "rude":
        sys.stdout.write("hello, who is there?\n" * 1000)
        sys.stdout.flush()
    if BEHAVIOUR == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stderr.write("spoken: here\n")
    sys.stderr.flush()
    while message := read():
        method, params = message.get("method", ""), message.get("params") or {}
        if method == "exit":
            return
        if BEHAVIOUR == "mute" or (BEHAVIOUR in ("deaf", "stubborn") and method != "initialize"):
            continue
        if method == "initialized" and BEHAVIOUR == "joins":
            registered = {"id": "d", "method": "textDocument/definition", "registerOptions": {}}
            write(id="r2", method="client/registerCapability", params={"registrations": [registered]})
        if method in ("textDocument/didOpen", "textDocument/didChange"):
            if BEHAVIOUR == "dies":
                sys.stderr.write("spoken: out of memory\n")
                sys.exit(3)
            document = params["textDocument"]
            changes = params.get("contentChanges")
            texts[document["uri"]] = changes[-1]["text"] if changes else document["text"]
            diagnose(document["uri"], document["version"])
            while BEHAVIOUR == "floods":
                diagnose(document["uri"])
        elif "id" in message and method:
            write(id=message["id"], result=answer(method, params))


if __name__ == "__main__":
    main()
