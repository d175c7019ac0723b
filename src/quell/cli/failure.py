"""How a command fails: a text for the person, and an exit status.

    0 completed   1 failed   2 wrong usage   3 stopped by a permission or a limit   130 cancelled

Every text says what happened, why, and what to do. What the server refuses arrives as a code, and is translated here.
"""

from __future__ import annotations

COMPLETED, FAILED, USAGE, STOPPED, CANCELLED = 0, 1, 2, 3, 130

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quell.client.oneshot import Refused

NO_MODEL = """no model configured. Three ways to go on:

  with a provider's key    export ANTHROPIC_API_KEY=…   (or OPENAI_API_KEY=…), then the same command again
  with a local server      quell run --model ollama/NAME "…"   (or any other compatible server: see `quell models`)
  without any model        quell demo   (a scripted model; everything else is real)

A model for every run: `model = "provider/name"` in the configuration; `quell doctor` shows where that is."""


class CommandFailed(Exception):
    """The command ends here. `str(failure)` goes to standard error after `quell: `; `status` is the exit status.

    `session` and `prompt` are those of a run that had them by then.
    """

    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status
        self.session: str | None = None
        self.prompt: str | None = None


class InUse(CommandFailed):
    """No server could be started: another one has the journal, and is not found from here."""


def wrong_usage(text: str) -> CommandFailed:
    return CommandFailed(text, USAGE)


def of_refusal(refused: Refused) -> CommandFailed:
    """What the server would not do, in words for a person."""
    from quell.core.errors import EXIT  # only a failing command pays for it

    if refused.code == "no_model":
        return CommandFailed(NO_MODEL, EXIT[refused.code])
    advice = _ADVICE.get(refused.code)
    if refused.code == "unknown_model" and not refused.detail.startswith("unknown "):
        advice = None  # a script that cannot be played says itself what is wrong with it
    text = (
        refused.detail
        if advice is None
        else f"{refused.detail.rstrip('.')}{'' if refused.detail.endswith('?') else '.'} {advice}"
    )
    status = USAGE if refused.status == 413 else EXIT.get(refused.code, FAILED)
    return CommandFailed(text, status)


_NOT_OURS = (
    "The socket belongs to another program; `quell doctor` names it. Remove it, or set QUELL_DATA_DIR to another folder"
)
_ADVICE = {
    "session_not_found": "`quell sessions list` shows those that exist",
    "unknown_model": "`quell models` shows those that are known",
    "queue_full": "Wait for some to finish, or drop some with `quell queue drop`",
    "not_waiting": "`quell queue list` shows what waits",
    "shutting_down": "Give the command again in a moment: a new server will be started",
    "not_http": _NOT_OURS,
    "not_json": _NOT_OURS,
}
