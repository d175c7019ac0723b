"""Which simple commands only read: a table that one can read through.

A command is in it only if nothing it can be told to do with the accepted words writes a file, changes the system, reaches the network or
runs another program. `PLAIN` commands may have any words. For the others, each option has to be listed; abbreviations
of options are not. A program named by a path is never in it: it need not be the one that has the name.

What a repository's own configuration tells git to run is not seen here: `gitsafe` and `reach` see to that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from quell.tools.flags import Flags, fits, named
from quell.tools.shell import Simple
from quell.tools.wrappers import Word

PLAIN = named(
    ": arch b2sum basename cat cksum cmp comm cut df dirname du egrep exit false fgrep free fold grep"
    " groups head id ls md5sum nl nproc od paste pwd readlink realpath rev seq sha1sum sha224sum"
    " sha256sum sha384sum sha512sum sleep stat sum tac tail tr true uname uptime users wc whereis"
    " which whoami break continue cd"
)
"""Do nothing but read and print, whatever their words are."""


_DIFF = named(
    "abbrev abbrev= abbrev-commit after: all author: author-date-order before: branches cached cc check cherry cherry-pick clear-decorations"
    " color color= combined-all-paths committer: compact-summary count cumulative date: date-order decorate decorate= diff-algorithm= diff-filter="
    " dirstat dirstat= exit-code find-copies find-renames find-renames= first-parent follow format= full-diff full-history full-index"
    " function-context graph grep: histogram ignore-all-space ignore-blank-lines ignore-space-at-eol ignore-space-change"
    " inter-hunk-context= left-right max-count: max-parents= merge-base merges min-parents= minimal name-only name-status no-abbrev-commit"
    " no-color no-decorate no-ext-diff no-merges no-notes no-patch no-prefix no-renames no-textconv not numstat oneline"
    " parents patch patch-with-stat patience pickaxe-all pickaxe-regex pretty pretty= quiet raw regexp-ignore-case relative relative="
    " remotes reverse shortstat show-pulls since: skip: staged stat stat= summary tags text topo-order unified= until: word-diff"
    " word-diff= walk-reflogs"
)
_SHOW = Flags("abcDEFghimpqRrstuvWwz0123456789", "GLnSl", "BCMU", _DIFF)

_GIT: dict[str, Flags] = {
    "blame": Flags(
        "bceflnpstw",
        "L",
        "CM",
        named("abbrev= date= line-porcelain porcelain root show-email show-name show-number since="),
    ),
    "cat-file": Flags("epst"),
    "describe": Flags(long=named("abbrev= all always contains exact-match first-parent long match: tags exclude:")),
    "diff": _SHOW,
    "grep": Flags(
        "aEFGHhIiLlnoPqvWwz",
        "ABCem",
        "",
        named(
            "after-context= all-match and basic-regexp before-context= break cached color color= column context= count"
            " extended-regexp files-with-matches files-without-match fixed-strings full-name function-context heading"
            " ignore-case invert-match line-number max-count= max-depth= name-only no-color not null only-matching or"
            " perl-regexp quiet show-function text untracked word-regexp"
        ),
    ),
    "log": _SHOW,
    "ls-files": Flags(
        "cdfikmostuvz",
        "x",
        "",
        named("cached deleted exclude: exclude-standard full-name ignored modified others stage unmerged"),
    ),
    "ls-tree": Flags("dlrtz", long=named("abbrev full-name full-tree long name-only name-status")),
    "merge-base": Flags("a", long=named("all is-ancestor octopus")),
    "name-rev": Flags(long=named("all always name-only tags")),
    "rev-list": _SHOW,
    "rev-parse": Flags(
        "q",
        long=named(
            "abbrev-ref absolute-git-dir git-common-dir git-dir is-bare-repository is-inside-git-dir is-inside-work-tree quiet short short="
            " show-cdup show-prefix show-superproject-working-tree show-toplevel symbolic symbolic-full-name verify"
        ),
    ),
    "shortlog": Flags("cens", long=named("all email numbered since= summary until=")),
    "show": _SHOW,
    "show-ref": Flags("dhqs", long=named("abbrev branches dereference hash heads quiet tags verify")),
    "status": Flags(
        "bsvz",
        "",
        "u",
        named(
            "ahead-behind branch ignored long no-ahead-behind porcelain porcelain= renames short show-stash untracked-files untracked-files="
        ),
    ),
    "version": Flags(),
}
_BRANCH = Flags(
    "arv",
    long=named(
        "all color= column contains format= ignore-case list merged no-color no-column no-contains no-merged points-at remotes show-current sort= verbose"
    ),
)
_TAG = Flags(
    "lin", long=named("color= column contains format= ignore-case list merged no-contains no-merged points-at sort=")
)
_SIGNED = re.compile(r"%G|signature")
"""In a format: git asks the program that the configuration names whether a signature is good."""
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
        ("tag",),
        ("worktree", "list"),
    }
)
_GIT_ONE_MORE = frozenset(
    {("config", "--get"), ("config", "--get-all"), ("config", "--get-regexp"), ("remote", "get-url")}
)

_OPTIONS: dict[str, Flags] = {
    "column": Flags("texJ", "sNo", "", named("json separator: table")),
    "date": Flags("uR", "", "I", named("iso-8601 iso-8601= rfc-3339= rfc-email universal utc"), words=0),
    "diff": Flags(
        "abBcdeEinNqrstTuwy",
        "CUWxX",
        "",
        named(
            "brief color= ignore-all-space ignore-blank-lines ignore-case ignore-space-change new-file recursive report-identical-files side-by-side suppress-common-lines text unified unified="
        ),
    ),
    "file": Flags("bhikLNrsv0", "F", "", named("brief dereference mime mime-encoding mime-type")),
    "hostname": Flags("AdfIis", words=0),
    "ps": Flags("AacdefjlmrTuvwxyHLZ", "CGgOopqstUu", "", named("forest no-headers pid: ppid: sort="), words=0),
    "rg": Flags(
        "aFHIiLlNnopqSsUuvwx0ch.",
        "ABCEegjMmtTr",
        "",
        named(
            "after-context: before-context: case-sensitive color: column context: count count-matches crlf files files-with-matches"
            " files-without-match fixed-strings follow glob: heading hidden iglob: ignore-case invert-match json line-number line-regexp"
            " max-columns: max-count: max-depth: max-filesize: multiline no-config no-filename no-heading no-ignore no-ignore-vcs no-line-number"
            " no-messages null only-matching quiet regexp: replace: smart-case sort: sortr: stats text trim type: type-list type-not:"
            " unrestricted vimgrep with-filename word-regexp"
        ),
    ),
    "sort": Flags(
        "bcCdfgihMmnRrsuVz",
        "kt",
        "",
        named(
            "check dictionary-order field-separator: human-numeric-sort ignore-case ignore-leading-blanks key: merge month-sort numeric-sort reverse stable unique version-sort zero-terminated"
        ),
    ),
    "strings": Flags("af", "n", long=named("all bytes: print-file-name")),
    "tree": Flags(
        "aACdDfFghilnpqrsStuvxJQX",
        "ILP",
        "",
        named("charset= dirsfirst du filelimit= gitignore matchdirs noreport prune si"),
    ),
    "type": Flags("aPpt"),
    "uniq": Flags(
        "cdDiuz",
        "fsw",
        "",
        named("count ignore-case repeated skip-chars= skip-fields= unique zero-terminated"),
        words=1,
    ),
}

_FIND = named(
    "-H -L -P -a -amin -and -anewer -atime -cmin -cnewer -ctime -daystart -depth -empty -executable"
    " -false -follow -fstype -gid -group -ilname -iname -inum -ipath -iregex -links -lname -ls -maxdepth"
    " -mindepth -mmin -mount -mtime -name -newer -nogroup -not -nouser -o -or -path -perm -print -print0"
    " -printf -prune -quit -readable -regex -regextype -samefile -size -true -type -uid -user -wholename"
    " -writable -xdev -xtype ! ( ) ,"
)
_VERSIONS = named("clang cmake g++ gcc git java javac make mypy node perl php pip pip3 python python3 ruby ruff uv")
"""What is asked for its version reads nothing in the folder that could name another program: cargo, go, mvn, npm, pytest and yarn do."""
_SED = re.compile(r"(\d+|\$)(,(\d+|\$))?p")
_SET = re.compile(r"[-+][eux]*o?|pipefail")
_VARIABLE = re.compile(r"[a-z_][a-z0-9_]*=")
_UNARY_TESTS = frozenset(
    ["-b", "-c", "-d", "-e", "-f", "-g", "-h", "-k", "-L", "-n", "-p", "-r", "-s", "-S", "-u", "-w", "-x", "-z"]
)
_BINARY_TESTS = frozenset({"=", "==", "!="})


_PRINTF_WRITES = re.compile(r"%[-+ #0-9.*']*[hlLjzt]*n")
_JQ_OPTION = re.compile(
    r"-[acCeMnrRsjS]+|--(arg|argjson|args|compact-output|exit-status|indent|null-input|raw-input|raw-output|slurp|sort-keys|tab)"
)
_JQ_REACHES = re.compile(r"\b(import|include|env|modulemeta)\b|\$ENV")
"""Other files, by names that are in the program's text, and the environment."""
_TAILED_GLOB = re.compile(r"[*?][\w.*?-]*\.\w+")
"""What it stands for ends in `.name`, as no word of `find` does that is not the name of a file."""


def is_read_only(simple: Simple) -> bool:
    """Whether the command does nothing but read and print; not counting what it runs, which is judged by itself."""
    inside = simple.inside
    if inside.harmless:
        return True
    words = inside.own or simple.words
    name, arguments = words[0], words[1:]
    if len(words) == 1 and _VARIABLE.match(name.text):
        return True  # a variable of the line's own: those that programs obey have capital letters
    if name.dynamic or name.glob or simple.fed:
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
    if not simple.direct and (name.text in {"cd", "git", "set"} or "{}" in texts):
        return False  # git: it would not be the careful one of `gitsafe`
    if any(_may_be_an_option(word, name.text) for word in arguments):
        return False
    return _with_options(name.text, texts)


def _may_be_an_option(word: Word, name: str) -> bool:
    """The name of a file that the pattern stands for could begin with `-`."""
    if not word.glob or word.text[:1] not in "*?[@!+":
        return False
    return name != "find" or not _TAILED_GLOB.fullmatch(word.text)


_PS_LETTERS = re.compile("[aAfhjlrTuvwx]+")


def _with_options(name: str, texts: Sequence[str]) -> bool:
    if (
        name in _VERSIONS
        and len(texts) == 1
        and (texts[0] == "--version" or (name, texts[0]) in {("node", "-v"), ("python", "-V"), ("python3", "-V")})
    ):
        return True
    match name:
        case "git":
            return _is_reading_git(texts)
        case "find":
            return all(text in _FIND for text in texts if text.startswith("-") or text in {"!", "(", ")", ","})
        case "jq":
            options = [text for text in texts if text.startswith("-")]
            return all(map(_JQ_OPTION.fullmatch, options)) and not any(map(_JQ_REACHES.search, texts))
        case "printf":
            return not texts or not (texts[0].startswith("-") or _PRINTF_WRITES.search(texts[0]))
        case "sed":
            return (
                len(texts) >= 2
                and texts[0] == "-n"
                and bool(_SED.fullmatch(texts[1]))
                and not any(t.startswith("-") for t in texts[2:])
            )
        case "set":
            return bool(texts) and all(_SET.fullmatch(text) for text in texts)
        case "strings":  # `@file` stands for words that are in a file
            return not any(text.startswith("@") for text in texts) and fits(_OPTIONS[name], texts)
        case "command":
            return len(texts) == 2 and texts[0] in {"-v", "-V"}
        case "ps":  # with `e`, or `E` elsewhere, it shows the environments of processes
            words = [text for text in texts if not _PS_LETTERS.fullmatch(text)]
            return not any("env" in text.lower() for text in words) and fits(_OPTIONS[name], words)
        case "date":
            return fits(_OPTIONS[name], [text for text in texts if not text.startswith("+")])
        case _ if name in _OPTIONS:
            return fits(_OPTIONS[name], texts)
        case _:
            return False


def _is_reading_git(texts: Sequence[str]) -> bool:
    rest = list(texts)
    while rest and rest[0] in {"--no-pager", "-P", "-C", "--no-optional-locks"}:
        rest = rest[2:] if rest[0] == "-C" else rest[1:]
    if not rest or any(_SIGNED.search(text) for text in rest if text.startswith("-")):
        return False
    if tuple(rest) in _GIT_FIXED or (tuple(rest[:2]) in _GIT_ONE_MORE and len(rest) == 3 and rest[2][:1] != "-"):
        return True
    command, arguments = rest[0], rest[1:]
    if command in {"branch", "tag"}:
        listing = bool(_LISTING & set(arguments)) or (command == "tag" and "-l" in arguments)
        allowed = _BRANCH if command == "branch" else _TAG
        return fits(allowed if listing else replace(allowed, words=0), arguments)
    return command in _GIT and fits(_GIT[command], arguments)


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
