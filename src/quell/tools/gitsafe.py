"""How git is run where it was taken for reading: so that what a repository's own configuration names is not run by it.

Cloning copies no configuration, but an unpacked archive brings its `.git` along, and with it programs that git runs when it merely looks:
hooks, `diff.external`, `textconv`, `core.fsmonitor`, `gpg.program`, a submodule's own configuration, the transport of a partial clone.
Settings and options that overrule them are given to every git command of a line in which one counts as reading. Filters cannot be
overruled without knowing their names: where a repository has one of its own, git does not count as reading (`Workspace.git_programs`).
"""

from __future__ import annotations

from quell.core.access import Access

_ALWAYS = (("safe.bareRepository", "explicit"), ("core.fsmonitor", "false"))
"""A repository may hold another one as plain files, whose configuration runs a program when git merely looks around there."""

_QUIET = {
    "core.hooksPath": "/dev/null",
    "diff.external": "",
    "diff.submodule": "short",
    "gpg.openpgp.program": "false",
    "gpg.program": "false",
    "gpg.ssh.program": "false",
    "gpg.x509.program": "false",
    "log.diffMerges": "separate",
    "log.showSignature": "false",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
}

# A subshell, so that no variable of the line's own is touched. It turns the words once around and adds options after the subcommand.
_FUNCTION = """git() (
  left=$#; kind=
  while [ "$left" -gt 0 ]; do
    word=$1; shift; left=$((left - 1)); set -- "$@" "$word"
    [ -z "$kind" ] || continue
    case $word in
      -C) word=$1; shift; left=$((left - 1)); set -- "$@" "$word" ;;
      -*) ;;
      diff|log|show|reflog) kind=read; set -- "$@" SHOW ;;
      status) kind=read; set -- "$@" --ignore-submodules=dirty ;;
      blame) kind=read; set -- "$@" --no-textconv ;;
      cat-file|describe|grep|ls-files|ls-tree|merge-base|name-rev|rev-list|rev-parse|shortlog|show-ref|branch|tag) kind=read ;;
      *) kind=other ;;
    esac
  done
  [ "$kind" = read ] || exec git "$@"
  export GIT_ALLOW_PROTOCOL=none GIT_NO_LAZY_FETCH=1 GIT_OPTIONAL_LOCKS=0
  unset GIT_EXTERNAL_DIFF
  exec git SETTINGS "$@"
)
"""
_CAREFUL = _FUNCTION.replace("SHOW", "--no-ext-diff --no-textconv --ignore-submodules=dirty").replace(
    "SETTINGS", " ".join(f"-c {key}={value}" for key, value in _QUIET.items())
)


def line(command: str, access: Access) -> str:
    """The line to run for one that was judged as `access`."""
    reads = any(each.read_only and each.words[:1] == ("git",) for each in access.commands)
    return _CAREFUL + command if reads else command


def settings(present: str) -> dict[str, str]:
    """Variables that set what is always overruled, after the settings that the environment has already (`GIT_CONFIG_COUNT`)."""
    first = int(present) if present.isdecimal() else 0
    found = {"GIT_CONFIG_COUNT": str(first + len(_ALWAYS))}
    for number, (key, value) in enumerate(_ALWAYS, start=first):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found
