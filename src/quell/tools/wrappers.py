"""Commands that run other commands: `env`, `timeout`, `xargs`, `find -exec`, `sh -c`, `ssh`, `git -c` and their like.

`unwrap` says what such a command would run, as words or as lines of shell, so that a rule for the inner command reaches it there, too. That it
knows one does not make it harmless: only what changes nothing about the inner command but its time or its priority is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from quell.tools.flags import Flags, first_word, is_option, named


class Word(Struct, frozen=True):
    """`text` is without quotes where it is known, and as written where not.

    `dynamic`: it has an expansion or substitution in it; `glob`: a pattern for file names; `quoted`: it stays one word.
    """

    text: str
    dynamic: bool = False
    glob: bool = False
    quoted: bool = False


class Inside(Struct, frozen=True):
    """What a command runs: `commands` as words, `lines` of shell as the words that they are made of.

    `own`, of a command that may only read in spite of them, is the rest of it. `unclear`: it runs more than was understood.
    """

    commands: tuple[tuple[Word, ...], ...] = ()
    lines: tuple[tuple[Word, ...], ...] = ()
    own: tuple[Word, ...] = ()
    harmless: bool = False
    unclear: bool = False


NOTHING = Inside()
_UNCLEAR = Inside(unclear=True)

SHELLS = frozenset({"ash", "bash", "dash", "ksh", "mksh", "rbash", "sh", "yash", "zsh"})


class _Prefix(Struct, frozen=True):
    """Options and `operands` words go before the command. `assigns`: so do NAME=VALUE words. `joined`: the rest is joined for a shell.

    `harmless`, as long as its own options are among these letters.
    """

    flags: Flags = Flags()
    operands: int = 0
    assigns: bool = False
    joined: bool = False
    harmless: str | None = None


_PREFIXES: Mapping[str, _Prefix] = {
    "builtin": _Prefix(),
    "busybox": _Prefix(),
    "catchsegv": _Prefix(),
    "chroot": _Prefix(operands=1),
    "chrt": _Prefix(Flags("abdfiorv"), operands=1),
    "command": _Prefix(Flags("p"), harmless=""),
    "coproc": _Prefix(),
    "doas": _Prefix(Flags("Lns", "aCu")),
    "env": _Prefix(
        Flags("0iv", "Cu", long=named("chdir: debug ignore-environment null unset:")), assigns=True, harmless=""
    ),
    "exec": _Prefix(Flags("cl", "a")),
    "flock": _Prefix(Flags("enosux", "Ew", long=named("close exclusive nonblock shared timeout: unlock")), operands=1),
    "ionice": _Prefix(Flags("t", "cn"), harmless="cnt"),
    "ltrace": _Prefix(Flags("bcCfiLrStT", "aelnosux")),
    "nice": _Prefix(Flags("0123456789", "n", long=named("adjustment:")), harmless="n0123456789"),
    "nohup": _Prefix(),
    "nocorrect": _Prefix(),
    "noglob": _Prefix(),
    "parallel": _Prefix(Flags("Xkmqtuv0", "ajLNnPS", long=named("jobs: keep-order null verbose")), joined=True),
    "pkexec": _Prefix(Flags(long=named("disable-internal-agent user:"))),
    "runuser": _Prefix(Flags("fl", "gGu")),
    "setarch": _Prefix(Flags("BFILRSTXZ3v"), operands=1),
    "setsid": _Prefix(Flags("cfw")),
    "ssh": _Prefix(Flags("46AaCfGgKkMNnqsTtVvXxYy", "BbcDEeFIiJLlmOopQRSWw"), operands=1, joined=True),
    "stdbuf": _Prefix(Flags(valued="eio", long=named("error: input: output:")), harmless="eio"),
    "strace": _Prefix(Flags("cCdDfFhiknqrtTvVwxyzZ", "aAbeEIoOpPsSuUX")),
    "sudo": _Prefix(
        Flags("ABbEHikNnPSs", "CDghpRTtUu", long=named("login non-interactive preserve-env= user: group:"))
    ),
    "taskset": _Prefix(Flags("ac"), operands=1),
    "time": _Prefix(Flags("p"), harmless="p"),
    "timeout": _Prefix(
        Flags("v", "ks", long=named("foreground kill-after: preserve-status signal: verbose")),
        operands=1,
        harmless="ksv",
    ),
    "unbuffer": _Prefix(Flags("p")),
    "watch": _Prefix(Flags("bcdegtwx", "n", "", named("color differences interval: no-title precise")), joined=True),
    "xargs": _Prefix(
        Flags(
            "0oprtx",
            "adEILnPs",
            "eil",
            named(
                "arg-file: delimiter: eof= exit interactive max-args: max-chars: max-lines= max-procs: no-run-if-empty"
                " null open-tty replace= show-limits verbose"
            ),
        )
    ),
}

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(\[[^]]*\])?\+?=")
_QUIET_ASSIGNMENT = re.compile(
    r"(CI|CLICOLOR|CLICOLOR_FORCE|COLUMNS|DEBUG|FORCE_COLOR|LANG|LC_[A-Z]+|LINES|NODE_ENV|NO_COLOR|PYTHONUNBUFFERED"
    r"|RUST_BACKTRACE)=[\w.@:+-]*"
)
"""Variables by which no program is told to run another one, or to write."""

_RUNS_VALUE = re.compile(
    r"alias\..*|browser\..*\.cmd|core\.(alternaterefscommand|askpass|editor|fsmonitor|gitproxy|hookspath|pager|sshcommand)"
    r"|credential\..*helper|diff\.(external|.*\.(command|textconv))|difftool\..*\.cmd|filter\..*\.(clean|process|smudge)"
    r"|gpg\.(.*\.)?(program|defaultkeycommand)|interactive\.difffilter|man\..*\.cmd|merge\..*\.driver|mergetool\..*\.cmd|pager\..*"
    r"|receive\.procreceiverefs|remote\..*\.(receivepack|uploadpack|vcs)|sequence\.editor|submodule\..*\.update"
    r"|tar\..*\.command|trailer\..*\.(cmd|command)|uploadpack\.packobjectshook",
)
"""Settings of git whose value is a command."""


def unwrap(words: Sequence[Word]) -> Inside:
    """What a simple command runs besides itself."""
    after = next((index for index, word in enumerate(words) if not is_assignment(word)), len(words))
    if after:
        # A variable can change what any command does; that it is one of the quiet ones is said by `harmless`.
        quiet = all(_QUIET_ASSIGNMENT.fullmatch(word.text) for word in words[:after])
        return Inside((tuple(words[after:]),), harmless=quiet) if after < len(words) else NOTHING
    if not words:
        return NOTHING
    folder, _, name = words[0].text.rpartition("/")
    inside = _named(name, words)
    # A program in some folder need not be the one that has the name.
    return replace(inside, own=(), harmless=False) if folder or words[0].text.startswith("/") else inside


def _named(name: str, words: Sequence[Word]) -> Inside:
    if name in _PREFIXES:
        return _prefixed(_PREFIXES[name], name, words[1:])
    if name in SHELLS:
        return _shell(words[1:])
    return _SPECIAL[name](words[1:]) if name in _SPECIAL else NOTHING


def is_assignment(word: Word) -> bool:
    return bool(_ASSIGNMENT.match(word.text))


def _prefixed(prefix: _Prefix, name: str, arguments: Sequence[Word]) -> Inside:
    texts = [word.text for word in arguments]
    if name == "command" and texts[:1] and texts[0] in {"-v", "-V"}:
        return NOTHING
    if name == "ssh" and any("command" in text.lower() for text in texts if "=" in text):
        return _UNCLEAR  # ProxyCommand and its like run here
    start = first_word(prefix.flags, texts)
    if start is None:
        return _UNCLEAR
    options = "".join(text for text in texts[:start] if is_option(text))
    start += prefix.operands
    assigned = 0
    while prefix.assigns and start < len(arguments) and is_assignment(arguments[start]):
        start, assigned = start + 1, assigned + 1
    if name == "env" and texts[start : start + 1] == ["-"]:
        start, assigned = start + 1, assigned + 1
    inner = tuple(arguments[start:])
    if any(word.glob or (word.dynamic and not is_assignment(word)) for word in arguments[:start]):
        return _UNCLEAR  # it could become several words, and the command another
    if not inner:
        return NOTHING
    if prefix.joined:
        end = next((index for index, word in enumerate(inner) if word.text.startswith(":::")), len(inner))
        return Inside(lines=(inner[:end],))
    if name == "flock" and inner[0].text in {"-c", "--command"}:
        return Inside(lines=(inner[1:2],))
    if name == "time" and inner[0].text == "!":
        return _UNCLEAR
    if name == "xargs" and "--" not in texts[:start] and inner[0].dynamic:
        return _UNCLEAR
    harmless = prefix.harmless is not None and not assigned and set(options) <= {"-", *prefix.harmless}
    return Inside((inner,), harmless=harmless)


def _shell(arguments: Sequence[Word]) -> Inside:
    """`sh -c`: the word after the options is a line; without one it is a file, about which nothing is known."""
    takes_value = False
    for index, word in enumerate(arguments):
        if takes_value or re.fullmatch(r"[-+][oO]", word.text):
            takes_value = not takes_value
            continue
        if re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", word.text):
            rest = [each for each in arguments[index + 1 :] if not re.fullmatch(r"[-+][A-Za-z]+", each.text)]
            return Inside(lines=(tuple(rest[:1]),)) if rest else _UNCLEAR
        if not word.text.startswith(("-", "+")):
            break
    return NOTHING


def _eval(arguments: Sequence[Word]) -> Inside:
    return Inside(lines=(tuple(word for word in arguments if word.text != "--"),)) if arguments else NOTHING


def _trap(arguments: Sequence[Word]) -> Inside:
    words = [word for word in arguments if word.text not in {"--", "-"}]
    return Inside(lines=((words[0],),)) if len(words) > 1 and not words[0].text.startswith("-") else NOTHING


def _alias(arguments: Sequence[Word]) -> Inside:
    values = [word for word in arguments if "=" in word.text]
    return Inside(
        lines=tuple((Word(word.text.partition("=")[2], word.dynamic, word.glob, word.quoted),) for word in values)
    )


def _su(arguments: Sequence[Word]) -> Inside:
    for index, word in enumerate(arguments[:-1]):
        if word.text in {"-c", "--command"}:
            return Inside(lines=((arguments[index + 1],),))
    return NOTHING


def _callback(arguments: Sequence[Word]) -> Inside:
    """`mapfile -C`, `complete -C`."""
    found = [arguments[at + 1] for at, word in enumerate(arguments[:-1]) if word.text == "-C"]
    attached = any(re.match(r"-C.", word.text) for word in arguments)
    return Inside(lines=tuple((word,) for word in found), unclear=attached)


def _find(arguments: Sequence[Word]) -> Inside:
    own: list[Word] = [Word("find")]
    commands: list[tuple[Word, ...]] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        at += 1
        if word.text not in {"-exec", "-execdir", "-ok", "-okdir"}:
            own.append(word)
            continue
        end = at
        while end < len(arguments) and not (
            arguments[end].text == ";" or (arguments[end].text == "+" and arguments[end - 1].text == "{}")
        ):
            end += 1
        if end == len(arguments) or end == at:
            return _UNCLEAR
        commands.append(tuple(Word("{}") if each.text == "{}" else each for each in arguments[at:end]))
        at = end + 1
    return Inside(tuple(commands), own=tuple(own)) if commands else NOTHING


def _git(arguments: Sequence[Word]) -> Inside:
    lines: list[tuple[Word, ...]] = []
    at = 0
    while at < len(arguments) and arguments[at].text.startswith("-"):
        text = arguments[at].text
        if text == "-c" and at + 1 < len(arguments):
            lines += _setting(arguments[at + 1])
        at += 2 if text in {"-c", "-C", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env"} else 1
    command, rest = (arguments[at].text, arguments[at + 1 :]) if at < len(arguments) else ("", ())
    texts = [word.text for word in rest]
    if command == "submodule" and "foreach" in texts:
        start = texts.index("foreach") + 1
        lines.append(tuple(word for word in rest[start:] if word.text not in {"--recursive", "--quiet", "-q"}))
    elif command == "bisect" and texts[:1] == ["run"]:
        return Inside((tuple(rest[1:]),), tuple(lines))
    elif command == "rebase":
        lines += [(rest[i + 1],) for i, text in enumerate(texts[:-1]) if text in {"-x", "--exec"}]
        if any(re.match(r"-x.|--exec=", text) for text in texts):
            return _UNCLEAR
    elif command == "config" and len(rest) >= 2:
        key, value = rest[-2:]
        lines += _setting(Word(f"{key.text}={value.text}", key.dynamic or value.dynamic, value.glob, value.quoted))
    return Inside(lines=tuple(line for line in lines if line))


def _setting(word: Word) -> list[tuple[Word, ...]]:
    key, _, value = word.text.partition("=")
    if not _RUNS_VALUE.fullmatch(key.lower()) or value in {"", "true", "false"}:
        return []
    if key.lower().startswith("alias.") and not value.startswith("!"):
        value = f"git {value}"
    return [(Word(value.removeprefix("!"), word.dynamic, word.glob, word.quoted),)]


_SPECIAL: Mapping[str, Callable[[Sequence[Word]], Inside]] = {
    "alias": _alias,
    "complete": _callback,
    "eval": _eval,
    "find": _find,
    "git": _git,
    "mapfile": _callback,
    "readarray": _callback,
    "script": _su,
    "su": _su,
    "trap": _trap,
}
