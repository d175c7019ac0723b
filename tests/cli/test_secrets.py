"""Keys and tokens, end to end: no command gets a key, and nothing shows one: results, events, exports, the journal, the log."""

from __future__ import annotations

from tests.cli.command import Home

KEY = "qk-0123456789-abcdefghijklmnop-the-key"
TOKEN = "tok_9876543210_zyxwvutsrqponm"
CONFIGURED = "configured-key-5555-6666-7777"
SECRETS = {"provider key": KEY, "token": TOKEN, "key in the settings": CONFIGURED}

SCRIPT = """
[[reply]]
step = [{ tool = "view", input = { file_path = "keys.txt" } }]
[[reply]]
step = [{ tool = "bash", input = { command = "cat keys.txt; env | grep -c OPENAI; echo $GITHUB_TOKEN; fold -w 20 keys.txt" } }]
[[reply]]
step = [{ tool = "bash", input = { command = "head -c 20 keys.txt; sleep 0.3; tail -c +21 keys.txt; sleep 0.3; false" } }]
[[reply]]
step = [{ tool = "grep", input = { pattern = "key" } }, { tool = "edit", input = { file_path = "keys.txt", old_string = "is all", new_string = "was all" } }]
[[reply]]
step = [{ tool = "bash", input = { command = "cat keys.txt; sleep 1000", run_in_background = true } }]
[[reply]]
step = [{ fail = "unauthorized", detail = "Incorrect API key provided: KEY", times = 9 }]
""".replace("KEY", KEY)


def test_no_secret_is_shown_anywhere(home: Home) -> None:
    (home.root / "script.toml").write_text(SCRIPT)
    (home.workspace / "keys.txt").write_text("".join(f"{value}\n" for value in SECRETS.values()) + "is all\n")
    home.configure(
        f'[providers.own]\ndialect = "openai"\nbase_url = "http://me:{CONFIGURED}@localhost:1/{CONFIGURED}?k={CONFIGURED}"\napi_key = "{CONFIGURED}"\n\n[logging]\nlevel = "debug"\n'
    )
    clients_own = {"OPENAI_API_KEY": KEY, "GITHUB_TOKEN": TOKEN}
    done = home.quell("run", "--yolo", "--stream-json", "--model", home.model, "go", environment=clients_own)
    assert done.status not in (0, 2), done

    session = str(home.sessions()[0]["id"])
    page = home.quell("sessions", "export", session, "--format", "html").out
    exported = home.quell("sessions", "export", session, "--format", "markdown").out
    as_json = home.quell("sessions", "export", session, "--format", "json").out
    shown = home.quell("sessions", "show", session, "--full").out
    kept = (
        home.data / "checkpoints"
    )  # the workspace's files, byte for byte: what is in them is not hidden from whoever may read them
    files = [path for path in home.data.rglob("*") if path.is_file() and kept not in path.parents]
    stored = "".join(path.read_bytes().decode("latin-1") for path in files)
    jobs = home.quell("jobs", "--json").out
    assert "[hidden]" in jobs
    providers = home.quell("models", "--providers", "--json", environment=clients_own).out
    assert '"http://localhost:1/[hidden]"' in providers
    assert '"OPENAI_API_KEY"' in providers
    listed = home.quell("models", "--providers", environment=clients_own).out
    places = {
        "events": done.out, "messages": done.err, "export": exported, "json": as_json, "screen": shown, "disk": stored,
        "jobs": jobs, "page": page, "providers": providers, "listed": listed,
    }  # fmt: skip
    for where, text in places.items():
        for name, value in SECRETS.items():
            for at in range(len(value) - 12):
                assert value[at : at + 12] not in text, (
                    where,
                    name,
                    text[max(0, text.find(value[at : at + 12]) - 200) :][:400],
                )
    assert "[hidden]" in done.out
    assert "[hidden]" in exported
    assert "[hidden]" in page
    assert "Incorrect API key provided: [hidden]" in done.out + done.err
    assert "Exit code 1" in as_json
    assert (home.workspace / "keys.txt").read_text().endswith("was all\n")
