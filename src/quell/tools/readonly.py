"""Which simple commands only read: a table that one can read through.

A command is in it only if nothing it can be told to do with the accepted words writes a file, changes the system, reaches the network or
runs another program. `PLAIN` commands may have any words. For the others, each option has to be listed; abbreviations
of options are not. A program named by a path is never in it: it need not be the one that has the name.

What git is told to run by a repository's own configuration (`core.fsmonitor`, `diff.external`) is not seen here; writing to `.git` is a
matter of permission for that reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from quell.tools.shell import Word


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


PLAIN = _words(
    ": arch b2sum basename cat cksum cmp comm cut df dirname du egrep exit false fgrep free fold grep"
    " groups head id jq ls md5sum nl nproc od paste pwd readlink realpath rev seq sha1sum sha224sum"
    " sha256sum sha384sum sha512sum sleep stat strings sum tac tail tr true uname uptime users wc whereis"
    " which whoami break continue cd"
)
"""Do nothing but read and print, whatever their words are."""


class Allowed(Struct, frozen=True):
    """`flags` are one-letter options; those in `valued`, and `long` ones ending in `=`, take a value. `words`: how many others."""

    flags: str = ""
    valued: str = ""
    long: frozenset[str] = frozenset()
    words: int | None = None


_DIFF = _words(
    "abbrev abbrev= abbrev-commit after= all author= author-date-order before= branches cached cc check cherry cherry-pick clear-decorations"
    " color color= combined-all-paths committer= compact-summary cumulative date= date-order decorate decorate= diff-algorithm= diff-filter="
    " dirstat dirstat= exit-code find-copies find-renames find-renames= first-parent follow format= full-diff full-history full-index"
    " function-context graph grep= histogram ignore-all-space ignore-blank-lines ignore-space-at-eol ignore-space-change"
    " inter-hunk-context= left-right max-count= max-parents= merge-base merges min-parents= minimal name-only name-status no-abbrev-commit"
    " no-color no-decorate no-ext-diff no-merges no-notes no-patch no-prefix no-renames no-textconv not numstat oneline"
    " parents patch patch-with-stat patience pickaxe-all pickaxe-regex pretty pretty= quiet raw regexp-ignore-case relative relative="
    " remotes reverse shortstat show-pulls since= skip= staged stat stat= summary tags text topo-order unified= until= word-diff"
    " word-diff= walk-reflogs"
)
_SHOW = Allowed("abBcDEFghiMmpqRrstuvWwz0123456789", "GLnSUlC", _DIFF)

_GIT: dict[str, Allowed] = {
    "blame": Allowed(
        "bceflnpstw",
        "LMC",
        _words("abbrev= date= line-porcelain porcelain root show-email show-name show-number since="),
    ),
    "cat-file": Allowed("epst"),
    "describe": Allowed(
        "", "", _words("abbrev= all always contains dirty exact-match first-parent long match= tags exclude=")
    ),
    "diff": _SHOW,
    "log": _SHOW,
    "ls-files": Allowed(
        "cdfikmostuvz",
        "x",
        _words("cached deleted exclude= exclude-standard full-name ignored modified others stage unmerged"),
    ),
    "ls-tree": Allowed("dlrtz", "", _words("abbrev full-name full-tree long name-only name-status")),
    "merge-base": Allowed("a", "", _words("all is-ancestor octopus")),
    "name-rev": Allowed("", "", _words("all always name-only tags")),
    "rev-list": _SHOW,
    "rev-parse": Allowed(
        "q",
        "",
        _words(
            "abbrev-ref absolute-git-dir git-common-dir git-dir is-bare-repository is-inside-git-dir is-inside-work-tree quiet short short="
            " show-cdup show-prefix show-superproject-working-tree show-toplevel symbolic symbolic-full-name verify"
        ),
    ),
    "shortlog": Allowed("cens", "", _words("all email numbered since= summary until=")),
    "show": _SHOW,
    "show-ref": Allowed("dhqs", "", _words("abbrev branches dereference hash heads quiet tags verify")),
    "status": Allowed(
        "bsuvz",
        "",
        _words(
            "ahead-behind branch ignored long no-ahead-behind porcelain porcelain= renames short show-stash untracked-files untracked-files="
        ),
    ),
    "version": Allowed(),
}
_BRANCH = Allowed(
    "arv",
    "",
    _words(
        "all color= column contains format= ignore-case list merged no-color no-column no-contains no-merged points-at remotes show-current sort= verbose"
    ),
)
_TAG = Allowed(
    "lin", "", _words("color= column contains format= ignore-case list merged no-contains no-merged points-at sort=")
)
_LISTING = frozenset({"--list", "--contains", "--no-contains", "--merged", "--no-merged", "--points-at"})
"""With one of these `git branch` and `git tag` list, and further words are patterns; without, they would be new names."""

_GIT_FIXED = frozenset(
    {
        ("branch",),
        ("config", "-l"),
        ("config", "--list"),
        ("reflog",),
        ("remote",),
        ("remote", "-v"),
        ("stash", "list"),
        ("submodule", "status"),
        ("tag",),
        ("worktree", "list"),
    }
)
_GIT_ONE_MORE = frozenset(
    {("config", "--get"), ("config", "--get-all"), ("config", "--get-regexp"), ("remote", "get-url")}
)

_OPTIONS: dict[str, Allowed] = {
    "column": Allowed("texJ", "sNo", _words("json separator= table")),
    "date": Allowed("uR", "I", _words("iso-8601 iso-8601= rfc-3339= rfc-email universal utc")),
    "diff": Allowed(
        "abBcdeEinNqrstTuwy",
        "CUWxX",
        _words(
            "brief color= ignore-all-space ignore-blank-lines ignore-case ignore-space-change new-file recursive report-identical-files side-by-side suppress-common-lines text unified unified="
        ),
    ),
    "file": Allowed("bhikLNprsv0", "F", _words("brief dereference mime mime-encoding mime-type")),
    "hostname": Allowed("AdfIis", words=0),
    "ps": Allowed("AacdefjlmrTuvwxyHLZ", "CGgOopqstUu", _words("forest no-headers pid= ppid= sort=")),
    "rg": Allowed(
        "aFHIiLlNnopqSsUuvwx0ch.",
        "ABCEegjMmtTr",
        _words(
            "after-context= before-context= case-sensitive color= column context= count count-matches crlf files files-with-matches"
            " files-without-match fixed-strings follow glob= heading hidden iglob= ignore-case invert-match json line-number line-regexp"
            " max-columns= max-count= max-depth= max-filesize= multiline no-config no-filename no-heading no-ignore no-ignore-vcs no-line-number"
            " no-messages null only-matching quiet regexp= replace= smart-case sort= sortr= stats text trim type= type-list type-not="
            " unrestricted vimgrep with-filename word-regexp"
        ),
    ),
    "sort": Allowed(
        "bcCdfgihMmnRrsuVz",
        "kt",
        _words(
            "check dictionary-order field-separator= human-numeric-sort ignore-case ignore-leading-blanks key= merge month-sort numeric-sort reverse stable unique version-sort zero-terminated"
        ),
    ),
    "tree": Allowed(
        "aACdDfFghilnpqrsStuvxJQX",
        "ILP",
        _words("charset= dirsfirst du filelimit= gitignore matchdirs noreport prune si"),
    ),
    "type": Allowed("aPpt"),
    "uniq": Allowed(
        "cdDiuz", "fsw", _words("count ignore-case repeated skip-chars= skip-fields= unique zero-terminated"), words=1
    ),
}

_FIND = _words(
    "-H -L -P -a -amin -and -anewer -atime -cmin -cnewer -ctime -daystart -depth -empty -executable"
    " -false -follow -fstype -gid -group -ilname -iname -inum -ipath -iregex -links -lname -ls -maxdepth"
    " -mindepth -mmin -mount -mtime -name -newer -nogroup -not -nouser -o -or -path -perm -print -print0"
    " -printf -prune -quit -readable -regex -regextype -samefile -size -true -type -uid -user -wholename"
    " -writable -xdev -xtype ! ( ) ,"
)
_VERSIONS = _words(
    "bun cargo clang cmake deno docker dotnet gcc g++ git go gradle java javac make mvn mypy node npm npx"
    " perl php pip pip3 pnpm poetry pytest python python3 ruby ruff rustc rustup swift tsc uv yarn"
)
_SED = re.compile(r"(\d+|\$)(,(\d+|\$))?p")
_SET = re.compile(r"[-+][eux]*o?|pipefail")
_VARIABLE = re.compile(r"[a-z_][a-z0-9_]*=")
_UNARY_TESTS = frozenset(
    ["-b", "-c", "-d", "-e", "-f", "-g", "-h", "-k", "-L", "-n", "-p", "-r", "-s", "-S", "-u", "-w", "-x", "-z"]
)
_BINARY_TESTS = frozenset({"=", "==", "!="})


def is_read_only(words: Sequence[Word]) -> bool:
    """Whether the command does nothing but read and print."""
    name, arguments = words[0], words[1:]
    if len(words) == 1 and _VARIABLE.match(name.text):
        return True  # a variable of the line's own: those that programs obey have capital letters
    if name.dynamic or name.glob:
        return False
    if name.text == "echo":
        return True
    if name.text in {"[", "[[", "test"}:
        return _is_plain_test(name.text, arguments)
    if any(word.dynamic for word in arguments):
        return False
    texts = [word.text for word in arguments]
    if name.text in PLAIN:
        return True
    if any(word.glob and word.text[:1] in "*?[" for word in arguments) and name.text != "find":
        return False  # the name of a file could be an option
    return _with_options(name.text, texts)


_PS_LETTERS = re.compile("[aAfhjlrTuvwx]+")


def _with_options(name: str, texts: Sequence[str]) -> bool:
    if (
        name in _VERSIONS
        and len(texts) == 1
        and (texts[0] in {"--version", "-V"} or (name, texts[0]) in {("go", "version"), ("node", "-v"), ("npm", "-v")})
    ):
        return True
    match name:
        case "git":
            return _is_reading_git(texts)
        case "find":
            return all(text in _FIND for text in texts if text.startswith("-") or text in {"!", "(", ")", ","})
        case "printf":
            return not texts or not texts[0].startswith("-")
        case "sed":
            return (
                len(texts) >= 2
                and texts[0] == "-n"
                and bool(_SED.fullmatch(texts[1]))
                and not any(t.startswith("-") for t in texts[2:])
            )
        case "set":
            return bool(texts) and all(_SET.fullmatch(text) for text in texts)
        case "command":
            return len(texts) == 2 and texts[0] in {"-v", "-V"}
        case "ps":  # with `e`, or `E` elsewhere, it shows the environments of processes
            return _fits(_OPTIONS[name], [text for text in texts if not _PS_LETTERS.fullmatch(text)], words=0)
        case "date":
            return _fits(_OPTIONS[name], [text for text in texts if not text.startswith("+")], words=0)
        case _ if name in _OPTIONS:
            return _fits(_OPTIONS[name], texts, words=_OPTIONS[name].words)
        case _:
            return False


def _is_reading_git(texts: Sequence[str]) -> bool:
    rest = list(texts)
    while rest and rest[0] in {"--no-pager", "-P", "-C"}:
        rest = rest[2:] if rest[0] == "-C" else rest[1:]
    if not rest:
        return False
    if tuple(rest) in _GIT_FIXED or (tuple(rest[:2]) in _GIT_ONE_MORE and len(rest) == 3):
        return True
    command, arguments = rest[0], rest[1:]
    if command in {"branch", "tag"}:
        listing = bool(_LISTING & set(arguments)) or (command == "tag" and "-l" in arguments)
        return _fits(_BRANCH if command == "branch" else _TAG, arguments, words=None if listing else 0)
    return command in _GIT and _fits(_GIT[command], arguments, words=None)


def _fits(allowed: Allowed, texts: Sequence[str], *, words: int | None) -> bool:
    others = 0
    position = 0
    while position < len(texts):
        text = texts[position]
        position += 1
        if text == "--":
            others += len(texts) - position
            break
        if text.startswith("--"):
            name, equals, _ = text[2:].partition("=")
            if f"{name}=" in allowed.long and (equals or name not in allowed.long):
                position += not equals  # the value is the next word
            elif equals or name not in allowed.long:
                return False
        elif text.startswith("-") and len(text) > 1:
            value = next((index for index, flag in enumerate(text[1:], 1) if flag in allowed.valued), None)
            if any(flag not in allowed.flags for flag in text[1:value]):
                return False
            position += value == len(text) - 1
        else:
            others += 1
    return words is None or others <= words


def _is_plain_test(name: str, arguments: Sequence[Word]) -> bool:
    """Only tests in whose operands the shell does not look for subscripts, in which a command could hide."""
    closing = {"[": "]", "[[": "]]"}.get(name)
    if closing is not None:
        if not arguments or arguments[-1].text != closing:
            return False
        arguments = arguments[:-1]
    # Without quotes a value could become several words; `[[` does not split.
    whole = name == "[[" or all(word.quoted or not (word.dynamic or word.glob) for word in arguments)
    if name == "[[":
        for index, word in enumerate(arguments):
            if word.text in {"&&", "||"} and not word.quoted:
                return _is_test(arguments[:index], whole) and _is_plain_test(
                    "[[", [*arguments[index + 1 :], Word("]]")]
                )
    return _is_test(arguments, whole)


def _is_test(arguments: Sequence[Word], whole: bool) -> bool:
    texts = [word.text for word in arguments]
    if texts[:1] == ["!"]:
        texts = texts[1:]
    match texts:
        case [operator, _] if operator in _UNARY_TESTS:
            return whole
        case [_, operator, _] if operator in _BINARY_TESTS:
            return whole
        case _:
            return False
