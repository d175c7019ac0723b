"""A tool server that knows the protocol by heart and keeps to it as badly as it is told: `python -S raw.py FOLDER NAME WAY`.

It speaks over its standard input and output, one call at a time, and writes what it gets to `FOLDER/NAME`, a line a message. Ways:

    good        `echo` says what it was asked
    mute        never answers anything
    silent      never answers a call
    late        answers a call when it is cancelled
    deaf        after a call was made it reads no more
    flooding    answers a call with notifications, for ever
    drowning    answers a call with whatever, as fast as it can
    stubborn    silent, and ends neither with its input nor when it is told to
    nonsense    lists tools whose schemas are none
    brittle     as `good`, but a call with arguments ends it
    dying       ends before it has answered anything
"""

import json
import os
import signal
import sys
import time

FOLDER, NAME, WAY = sys.argv[1:4]
LOG = os.open(os.path.join(FOLDER, NAME), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
WATER = b"x" * 1_000_000 + b"\n"
OBJECT = {"type": "object"}
TOOLS = {
    "nonsense": [
        {"name": "echo", "description": "Says it.", "inputSchema": "what?"},
        {"name": "list", "inputSchema": ["a", 1]},
        {
            "name": "odd one!",
            "inputSchema": {"type": "object", "properties": {"x": 3, "y": {"type": "strange"}}, "required": 1},
        },
        {"name": "odd.one!", "description": 5, "inputSchema": {"type": "string"}},
        {"name": "n" * 90, "inputSchema": OBJECT},
        {"name": 7, "inputSchema": OBJECT},
        "nothing",
    ]
}


def say(**message: object) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def main() -> None:
    print("Welcome to a server that greets where it should not.")
    if WAY == "dying":
        sys.exit("no licence")
    if WAY == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asked = None
    for line in sys.stdin:
        os.write(LOG, line.encode())
        message = json.loads(line)
        number, method = message.get("id"), message.get("method")
        if WAY == "mute":
            continue
        if method == "initialize":
            given = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}}
            say(id=number, result={**given, "serverInfo": {"name": NAME, "version": "1"}})
        elif method == "tools/list":
            tools = TOOLS.get(WAY, [{"name": "echo", "description": "Says it.", "inputSchema": OBJECT}])
            say(id=number, result={"tools": tools})
        elif method == "tools/call":
            asked = number
            if WAY == "deaf":
                time.sleep(1000)
            while WAY == "flooding":
                say(method="notifications/message", params={"level": "info", "data": "x" * 1000})
                time.sleep(0.002)
            while WAY == "drowning":
                os.write(1, WATER)
            if WAY == "brittle" and message["params"]["arguments"]:
                sys.exit("out of coffee")
            if WAY in ("good", "nonsense", "brittle"):
                text = f"{NAME}: {message['params']['name']} {json.dumps(message['params'].get('arguments'))}"
                say(id=number, result={"content": [{"type": "text", "text": text}]})
        elif method == "notifications/cancelled" and WAY == "late" and message["params"]["requestId"] == asked:
            say(id=asked, result={"content": [{"type": "text", "text": "it is done all the same"}]})
    while WAY == "stubborn":
        time.sleep(1000)


main()
