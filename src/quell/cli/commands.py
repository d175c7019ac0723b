"""The commands beside the fast path: a table of where each is, loaded when it is used.

A command is one file in this package, and one line in `COMMANDS`. `run` is made here from the table that its fast path reads, so that its
help and its mistakes are explained by click.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from quell import __version__
from quell.cli.failure import COMPLETED, FAILED, USAGE, CommandFailed, of_refusal
from quell.cli.options import LONGEST_SECONDS, MODES, OPTIONS, Option, RunOptions, is_money
from quell.client.oneshot import Refused, Unreachable
from quell.core.errors import EXIT, QuellError

COMMANDS = {  # name: (where it is, what the help says of it)
    "run": ("quell.cli.commands:run_command", "Give the agent one task, and follow it to its end."),
    "sessions": (
        "quell.cli.sessions:sessions_command",
        "List, show, export, fork, revert, rename and delete sessions.",
    ),
    "cancel": ("quell.cli.cancel:cancel", "Stop what runs in a session."),
    "requests": ("quell.cli.requests:requests", "What waits for a person: permissions and questions."),
    "answer": ("quell.cli.requests:answer", "Answer a permission request, or questions."),
    "queue": ("quell.cli.queue:queue", "What waits in a session: list, edit, drop, promote, move, resume."),
    "compact": ("quell.cli.compact:compact", "Summarise a session's conversation, to go on from the summary."),
    "jobs": ("quell.cli.jobs:jobs", "Commands that run on in the background."),
    "models": ("quell.cli.models:models", "The models that are known, and which of them can be used."),
    "serve": ("quell.cli.serve:serve", "Run the server here, or stop the running one."),
    "logs": ("quell.cli.logs:logs", "The server's log."),
    "doctor": ("quell.cli.doctor:doctor", "What is configured, found and missing, and how to mend it."),
    "demo": ("quell.cli.demo:demo", "Watch an agent repair a project, with a scripted model."),
}

_STATUSES = "Exit status: 0 completed, 1 failed, 2 wrong usage, 3 stopped by a permission or a limit, 130 cancelled."


class _Commands(click.Group):
    """Knows its commands by name, and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    epilog=_STATUSES,
    context_settings={"help_option_names": ["-h", "--help"]},  # the commands inherit it
)
@click.version_option(__version__, "-V", "--version", message="quell %(version)s")
@click.pass_context
def root(context: click.Context) -> None:
    """Quell, a coding agent: a server that owns every run, and front ends that come and go."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str]) -> int:
    """The exit status. Raises `CommandFailed`."""
    output = sys.stdout
    try:
        status = root.main(list(arguments), prog_name="quell", standalone_mode=False)
    except click.UsageError as mistake:
        path = mistake.ctx.command_path if mistake.ctx is not None else " ".join(("quell", *arguments[:1]))
        raise CommandFailed(f"{_explained(mistake)} See `{path} --help`", USAGE) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit:
        if sys.stdout is output:
            raise
        # click has replaced the streams: it ends a command whose reader has left as a failure, which is not for it to say.
        raise BrokenPipeError from None
    except Refused as refused:
        raise of_refusal(refused) from None
    except Unreachable as lost:
        raise CommandFailed(f"the server was lost in the middle of this: {lost}. Give the command again") from None
    except QuellError as error:  # of a server that was to run in this process
        raise CommandFailed(str(error), EXIT.get(error.code, FAILED)) from None
    return status if isinstance(status, int) else COMPLETED


def _explained(mistake: click.UsageError) -> str:
    """What is wrong, in a sentence, with the name that may have been meant."""
    context = mistake.ctx
    if isinstance(mistake, click.NoSuchCommand | click.NoSuchOption) and context is not None:
        from quell.config.file import nearest  # only a mistake pays for it

        command = context.command
        if isinstance(mistake, click.NoSuchOption):
            name = mistake.option_name
            known = [each for option in command.get_params(context) for each in option.opts if each.startswith("--")]
        else:
            name = mistake.command_name
            known = command.list_commands(context) if isinstance(command, click.Group) else []
        hint = nearest(name, known)
        return f"{mistake.message} {hint[:1].upper()}{hint[1:]}".rstrip()
    text = mistake.format_message()
    return text if text.endswith((".", "?", "!")) else f"{text}."


class _Seconds(click.FloatRange):
    """A range is no obstacle to `nan`, which is neither below nor above anything."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return seconds


class _Money(click.ParamType[str]):
    name = "money"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not is_money(text):
            self.fail(f"{value!r} is no amount of US dollars, such as 0.50.", param, ctx)
        return text


def _parameter(option: Option) -> click.Option:
    kinds: dict[str, click.ParamType[object]] = {
        "count": click.IntRange(min=1),
        "seconds": _Seconds(min=0, min_open=True, max=LONGEST_SECONDS),
        "money": _Money(),
        "mode": click.Choice(MODES),
    }
    return click.Option(
        list(option.names),
        is_flag=True if option.kind == "flag" else None,  # False would make the value optional
        multiple=option.kind == "many",
        type=None if option.kind == "flag" else kinds.get(option.kind, click.STRING),
        metavar=option.metavar or None,
        help=option.help,
    )


def _run(words: tuple[str, ...], **given: object) -> int:
    from quell.cli.run import run

    options = RunOptions()
    options.words = words
    for option in OPTIONS:
        value = given[option.key]
        if option.kind == "many" and isinstance(value, tuple):
            for each in value:
                options.put(option, each)
        else:
            options.put(option, value)
    return run(options)


run_command = click.Command(
    "run",
    callback=_run,
    params=[click.Argument(["words"], nargs=-1, metavar="[PROMPT]..."), *(_parameter(option) for option in OPTIONS)],
    help="""Give the agent one task, and follow it to its end.

    The prompt is what standard input holds, if it is a pipe or a file, and then the arguments. The model's text goes to standard output
    as it arrives, progress to standard error. On a terminal you are asked what needs a permission, and what the model wants to know;
    elsewhere, and with --no-ask, what would ask is denied, unless --allow or --yolo says otherwise. Ctrl-C cancels the run and waits until it has stopped; a second Ctrl-C leaves at once.
    """,
    epilog=_STATUSES,
)
