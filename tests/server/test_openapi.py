"""The OpenAPI document: whole, and true. schemathesis asks what it says may be asked, and what it says may not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from quell.core import errors
from quell.server.app import ROUTES
from quell.server.errors import PROBLEM_TYPE
from quell.server.openapi import openapi
from quell.server.route import AnyRoute, Route
from quell.wire import api
from tests.server.daemon_process import TOKEN

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads(msgspec.json.encode(openapi(ROUTES, "1.2.3")))


def operations() -> Iterator[tuple[str, str, dict[str, object]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_is_in_it_with_a_summary_and_its_own_name() -> None:
    assert {(method.upper(), path) for path, method, _ in operations()} == {(r.method, r.path) for r in ROUTES}
    assert all(operation["summary"] for _, _, operation in operations())
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere() -> None:
    def references(value: object) -> Iterator[str]:
        match value:
            case dict():
                if isinstance(reference := value.get("$ref"), str):
                    yield reference
                for inner in value.values():
                    yield from references(inner)
            case list():
                for inner in value:
                    yield from references(inner)
            case _:
                pass

    for reference in references(DOCUMENT):
        kind, _, name = reference.removeprefix("#/components/").partition("/")
        assert name in DOCUMENT["components"][kind], reference


def test_every_refusal_of_a_route_is_a_status_with_its_code() -> None:
    for route in ROUTES:
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        for refusal in route.refusals:
            response = responses[str(errors.STATUS[refusal.code])]
            assert refusal.code in response["description"]
            assert PROBLEM_TYPE in response["content"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("daemon")
    folder.chmod(0o700)
    arguments = [sys.executable, "-m", "tests.server.daemon_process", str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=ROOT) as daemon:
        assert daemon.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(daemon.stdout.readline().split()[1])}"
        finally:
            daemon.kill()


AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
"""Not that what has the right form is accepted: an empty prompt has, and is not."""
DESTRUCTIVE = {("DELETE", "/v1/sessions/{session}"), ("POST", "/v1/shutdown")}


ASKED = [row for row in ROUTES if (row.method, row.path) not in DESTRUCTIVE and "text/event-stream" not in row.media]
CASES = [
    (mode, row)
    for row in ASKED
    for mode in GenerationMode
    # Where nothing can be sent, nothing wrong can.
    if mode is GenerationMode.POSITIVE or (row.body, row.query) != (api.Nothing, api.Nothing)
]


@pytest.mark.parametrize(
    ("mode", "row"), CASES, ids=lambda value: f"{value.method} {value.path}" if isinstance(value, Route) else str(value)
)
def test_what_it_says_is_what_happens(address: str, mode: GenerationMode, row: AnyRoute) -> None:
    session = httpx2.post(f"{address}/v1/sessions", json={"workspace": "/work"}, headers=AUTHORIZED).json()["id"]
    operation = schemathesis.openapi.from_dict(DOCUMENT)[row.path][row.method]
    path = {"session": session} if "session" in row.parameters else None

    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(mode, path_parameters=path))
    def ask(case: "schemathesis.Case[Any]") -> None:
        case.call_and_validate(base_url=address, headers=AUTHORIZED, checks=CHECKS)

    ask()
