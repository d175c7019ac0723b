"""A session in which everything happens: every kind of fact, and every field with something in it.

    python -m tests.golden.story > tests/golden/journal-VERSION.jsonl

is done once for a release that changes the facts. The file is not renewed afterwards: it is what users of that release
have on their disks.
"""

import sys
from collections.abc import Sequence
from decimal import Decimal

from quell.core import facts as f
from quell.core.hooks import HookReport
from quell.core.messages import Attachment, Image, Reasoning, Reply, Spent, Text, ToolCall, ToolResult, Usage
from quell.core.permissions import Rule
from quell.core.questions import Choice, Question, QuestionAnswer
from quell.testing.journals import moment
from quell.wire.facts import encode


def facts() -> Sequence[f.AnyFact]:
    return (
        *opening(),
        *first_reply(),
        *calls(),
        *queue(),
        *compactions(),
        *interruption(),
        *questions(),
        *fork(),
        *title(),
        *picture(),
        *revert(),
        *hooks(),
    )


def opening() -> Sequence[f.AnyFact]:
    """A first run that fails, and is tried again."""
    return (
        f.SessionCreated(
            session="s1",
            workspace="/home/user/project",
            title="Repair the tests",
            model="anthropic/large",
            small_model="anthropic/small",
            mode="ask",
            parent="s0",
            role="web",
            extra=("/home/user/library",),
            rules=(Rule("deny", "view(secrets)", "session"),),
        ),
        f.SettingsChanged(
            title="Repair the tests of the parser",
            model="openai/large",
            small_model="openai/small",
            mode="plan",
            extra=(),
        ),
        f.PromptAccepted(
            prompt="p1",
            text="The tests fail.\nRepair them. – „Danke“ 🙂",
            digest="d" * 64,
            attachments=(
                Attachment(name="output.txt", content="2 failed"),
                Attachment(name="screen.png", content="iVBORw0KGgo=", mime_type="image/png", encoding="base64"),
            ),
            origin="parent",
            limits=f.Limits(turns=20, cost=Decimal("1.50"), seconds=600.0),
            allow=("bash(pytest *)",),
            mode="yolo",
            on_ask="deny",
        ),
        f.RunStarted(run="r4", entry="p1", entry_kind="prompt"),
        f.SampleFailed(
            run="r4",
            turn=1,
            attempt=1,
            message="r4-1-1",
            failure="overloaded",
            detail="529: overloaded",
            reply=Reply(parts=(Text("I will"),), stop_reason="error", usage=Usage(input=100, output=2)),
            retry_at=moment(5000),
            attempts=5,
        ),
    )


def first_reply() -> Sequence[f.AnyFact]:
    """With every sort of part."""
    return (
        f.Replied(
            run="r4",
            turn=1,
            attempt=2,
            message="r4-1-2",
            reply=Reply(
                parts=(
                    Reasoning("First the output.", signature="c2lnbmVk", provider="anthropic", id="rs1"),
                    Reasoning("", signature="c2VjcmV0", provider="anthropic", redacted=True),
                    Text("I look at it."),
                    ToolCall("r4-1-2-c3", "view", '{"path": "parser.py"}', signature="c2lnbmVk", provider="google"),
                    ToolCall("r4-1-2-c4", "bash", '{"command": "pytest"}'),
                ),
                stop_reason="tool_use",
                usage=Usage(input=1000, output=80, cache_read=500, cache_write=200, reasoning=30),
                cost=Decimal("0.0123"),
                model="large-2026-10-01",
            ),
        ),
    )


def calls() -> Sequence[f.AnyFact]:
    """One runs, one is asked for and allowed; a steer joins; the reply crowds the window, and the run is cancelled."""
    return (
        f.CallStarted(run="r4", call="r4-1-2-c3", concurrent=True),
        f.PermissionRequested(
            run="r4",
            call="r4-1-2-c4",
            request="r4-1-2-c4-ask",
            tool="bash",
            title="pytest",
            reason="No rule allows it.",
            always="bash(pytest)",
            concurrent=True,
        ),
        f.CallFinished(
            run="r4",
            call="r4-1-2-c3",
            result=ToolResult(
                text="1\tdef parse(): ...", metadata={"seen": {"/home/user/project/parser.py": "e" * 64}}
            ),
        ),
        f.PermissionAnswered(
            run="r4",
            call="r4-1-2-c4",
            request="r4-1-2-c4-ask",
            option="allow_always",
            note="Only this one.",
            rule="bash(pytest)",
        ),
        f.CallStarted(run="r4", call="r4-1-2-c4"),
        f.PromptAccepted(prompt="p2", text="Quickly.", digest="e" * 64, delivery="steer", run="r4"),
        f.CallFinished(
            run="r4",
            call="r4-1-2-c4",
            result=ToolResult(text="2 failed", status="failed", metadata={"status": 1}),
            spent=Spent(Usage(input=400, output=20), Decimal("0.004")),
        ),
        f.SteerJoined(run="r4", prompt="p2"),
        f.TurnStarted(run="r4", turn=2),
        f.RunEnding(run="r4", outcome="cancelled", stop_reason="cancelled", origin="system"),
        f.Replied(
            run="r4",
            turn=2,
            attempt=1,
            message="r4-2-1",
            reply=Reply(parts=(Text("It is"),), stop_reason="cancelled"),
            crowded=True,
        ),
        f.RunSettled(run="r4", outcome="cancelled", stop_reason="cancelled"),
    )


def queue() -> Sequence[f.AnyFact]:
    """Everything that can be done with what waits."""
    return (
        f.PromptAccepted(prompt="p3", text="Three.", digest="3" * 64),
        f.RunStarted(run="r20", entry="p3", entry_kind="prompt"),
        f.PromptAccepted(prompt="p4", text="Four.", digest="4" * 64),
        f.PromptAccepted(prompt="p5", text="Five.", digest="5" * 64),
        f.PromptAccepted(prompt="p6", text="Six.", digest="6" * 64),
        f.EntryEdited(entry="p4", text="Four, edited.", delivery="steer", run="r20"),
        f.EntryMoved(entry="p6", before="p4"),
        f.SampleFailed(
            run="r20", turn=1, attempt=1, message="r20-1-1", failure="quota", detail="The credit is used up."
        ),
        f.RunSettled(
            run="r20", outcome="failed", stop_reason="error", failure="quota", detail="The credit is used up."
        ),
        f.QueueParked(entries=("p6", "p4", "p5"), reason="failure"),
        f.EntryPromoted(entry="p5"),
        f.EntryDropped(entry="p6", reason="removed", text="Six."),
        f.QueueResumed(),
        f.RunStarted(run="r32", entry="p5", entry_kind="prompt"),
        f.RunRecovered(run="r32"),
        f.Replied(run="r32", turn=1, attempt=1, message="r32-1-1", reply=Reply(parts=(Text("Five is done."),))),
        f.RunSettled(run="r32", outcome="completed", stop_reason="end_turn"),
        f.QueueParked(entries=("p4",), reason="downtime"),
        f.EntryDropped(entry="p4", reason="cancelled", text="Four, edited."),
        f.QueueResumed(ended_by="cancelled"),
    )


def compactions() -> Sequence[f.AnyFact]:
    """One that was asked for."""
    return (
        f.CompactionAccepted(entry="c1", origin="system"),
        f.RunStarted(run="r40", entry="c1", entry_kind="compaction"),
        f.CompactionStarted(run="r40", upto=39),
        f.Compacted(
            run="r40",
            upto=39,
            message="r40-1-1",
            summary="The parser's tests were looked at.",
            usage=Usage(input=3000, output=90),
            cost=Decimal("0.02"),
        ),
        f.RunSettled(run="r40", outcome="completed", stop_reason="end_turn"),
    )


def interruption() -> Sequence[f.AnyFact]:
    """A run that the process did not survive, its follow-up, and the deletion of it all."""
    return (
        f.PromptAccepted(prompt="p7", text="Seven.", digest="7" * 64),
        f.RunStarted(run="r45", entry="p7", entry_kind="prompt"),
        f.Replied(
            run="r45",
            turn=1,
            attempt=1,
            message="r45-1-1",
            reply=Reply(parts=(Text("Sev"),), stop_reason="interrupted"),
        ),
        f.RunSettled(run="r45", outcome="interrupted", stop_reason="interrupted"),
        f.FollowUpAccepted(entry="r45-again", run="r45", prompt="p7", count=1),
        f.RunStarted(run="r49", entry="r45-again", entry_kind="follow_up"),
        f.PromptAccepted(prompt="p8", text="Eight.", digest="8" * 64),
        f.DeletionStarted(session="s1"),
    )


def questions() -> Sequence[f.AnyFact]:
    """A run that asks a person, and something that happens beside it."""
    return (
        f.PromptAccepted(prompt="p9", text="Choose.", digest="9" * 64),
        f.RunStarted(run="r99", entry="p9", entry_kind="prompt"),
        f.Replied(
            run="r99",
            turn=1,
            attempt=1,
            message="r99-1-1",
            reply=Reply(parts=(ToolCall("r99-1-1-c0", "question", '{"questions": []}'),), stop_reason="tool_use"),
        ),
        f.QuestionsAsked(
            run="r99",
            call="r99-1-1-c0",
            request="r99-1-1-c0-ask",
            title="The old parser",
            questions=(
                Question(
                    label="Keep",
                    type="single_choice",
                    question="What about the old one?",
                    description="Two modules import it.",
                    choices=(Choice("keep", "Keep it", "and warn"), Choice("drop", "Drop it")),
                ),
                Question(type="free_text", question="Its new name?"),
                Question(type="yes_no", question="Shall it warn?"),
            ),
            reason="Both break something.",
        ),
        f.QuestionsAnswered(
            run="r99",
            call="r99-1-1-c0",
            request="r99-1-1-c0-ask",
            answers=(
                QuestionAnswer(choices=("keep",), note="Until spring."),
                QuestionAnswer(text="legacy"),
                QuestionAnswer(yes=True),
            ),
        ),
        f.CallFinished(run="r99", call="r99-1-1-c0", result=ToolResult(text="Q1: …")),
        f.RunSettled(run="r99", outcome="completed", stop_reason="end_turn"),
        f.Noted(text="Background job r4-1-2-c4 (`npm run dev`) has ended: exit code 1."),
    )


def fork() -> Sequence[f.AnyFact]:
    """As if all of it had been copied in the middle of a call."""
    return (
        f.PromptAccepted(prompt="p10", text="Look.", digest="a" * 64),
        f.RunStarted(run="r61", entry="p10", entry_kind="prompt"),
        f.Replied(
            run="r61",
            turn=1,
            attempt=1,
            message="r61-1-1",
            reply=Reply(parts=(ToolCall("r61-1-1-c0", "ls", "{}"),), stop_reason="tool_use"),
        ),
        f.Forked(source="s0", run="r61", calls=("r61-1-1-c0",), entries=("p8",)),
    )


def title() -> Sequence[f.AnyFact]:
    """Asked for twice, because the process died."""
    return (
        f.TitleRequested(prompt="p7", attempt=2),
        f.TitleGiven(title="Tests of the parser", usage=Usage(input=80, output=6), cost=Decimal("0.0001")),
    )


def picture() -> Sequence[f.AnyFact]:
    """An image is seen."""
    image = Image(name="plot.png", media_type="image/png", sha256="f" * 64, size=12345, width=640, height=480)
    return (
        f.PromptAccepted(prompt="p11", text="See.", digest="b" * 64),
        f.RunStarted(run="r111", entry="p11", entry_kind="prompt"),
        f.Replied(
            run="r111",
            turn=1,
            attempt=1,
            message="r111-1-1",
            reply=Reply(parts=(ToolCall("r111-1-1-c0", "view", "{}"),), stop_reason="tool_use"),
        ),
        f.CallFinished(run="r111", call="r111-1-1-c0", result=ToolResult(text="plot.png: …", images=(image,))),
        f.RunSettled(run="r111", outcome="completed", stop_reason="end_turn"),
    )


def revert() -> Sequence[f.AnyFact]:
    """A run with a checkpoint, back to before it, and forth again."""
    call = "r72-1-1-c0"
    return (
        f.PromptAccepted(prompt="p12", text="Rewrite it.", digest="b" * 64),
        f.RunStarted(run="r72", entry="p12", entry_kind="prompt"),
        f.Replied(
            run="r72",
            turn=1,
            attempt=1,
            message="r72-1-1",
            reply=Reply(parts=(ToolCall(call, "write", "{}"),), stop_reason="tool_use"),
        ),
        f.PermissionRequested(
            run="r72", call=call, request=f"{call}-ask", tool="write", title="parser.py", reason="", changes=True
        ),
        f.PermissionAnswered(run="r72", call=call, request=f"{call}-ask", option="allow_once"),
        f.CallStarted(run="r72", call=call, changes=True),
        f.WorkspaceKept(run="r72", snapshot="c" * 32),
        f.CallFinished(run="r72", call=call, result=ToolResult(text="written")),
        f.RunSettled(run="r72", outcome="completed", stop_reason="end_turn"),
        f.WorkspaceKept(run="r72", after=True, problem="The disk is full."),
        f.RevertStarted(to="p12", since=72, source="d" * 32, target="e" * 32),
        f.Reverted(to="p12", left=("parser.py",), problem="It is locked."),
        f.RevertStarted(to="p12", since=72, source="e" * 32, target="d" * 32, undo=True),
        f.RevertUndone(to="p12", left=("parser.py",), problem="It is locked."),
    )


def hooks() -> Sequence[f.AnyFact]:
    """One changes what a call does, another fails; afterwards one stops the run."""
    call = "r86-1-1-c0"
    return (
        f.PromptAccepted(prompt="p13", text="Push it.", digest="c" * 64),
        f.RunStarted(run="r86", entry="p13", entry_kind="prompt"),
        f.Replied(
            run="r86",
            turn=1,
            attempt=1,
            message="r86-1-1",
            reply=Reply(parts=(ToolCall(call, "bash", '{"command": "git push -f"}'),), stop_reason="tool_use"),
        ),
        f.HooksAnswered(
            run="r86",
            call=call,
            event="PreToolUse",
            hooks=(
                HookReport(name="no force", decision="allow", reason="Without -f."),
                HookReport(name="log", reason="exit status 1", failed=True),
            ),
            input='{"command":"git push"}',
            context="[From the user's hook `no force`] The branch is protected.",
        ),
        f.CallStarted(run="r86", call=call, changes=True),
        f.HooksAnswered(
            run="r86", call=call, event="PostToolUse", hooks=(HookReport(name="enough", reason="Look.", halt=True),)
        ),
        f.CallFinished(run="r86", call=call, result=ToolResult(text="pushed")),
        f.RunEnding(run="r86", outcome="completed", stop_reason="hook", origin="system"),
        f.RunSettled(run="r86", outcome="completed", stop_reason="hook"),
    )


def records() -> Sequence[f.Recorded]:
    return [f.Recorded(seq, moment(seq * 1000), fact) for seq, fact in enumerate(facts(), 1)]


if __name__ == "__main__":
    for recorded in records():
        sys.stdout.buffer.write(encode(recorded) + b"\n")
