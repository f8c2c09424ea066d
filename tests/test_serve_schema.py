"""Whatever fits the OpenAPI schema, and whatever does not: no answer is a 5xx, and all are as the schema says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from test_serve_api import png, predictor, served, url_of

from x2sam import X2Sam
from x2sam.client import Client
from x2sam.serve import openai, routes, work_routes
from x2sam.serve.limits import Limits

__all__ = ["predictor"]
LIMITS = Limits(json_bytes=2**20, sessions=4, sessions_per_client=4, tokens=8)


@pytest.fixture(scope="module")
def service(predictor: X2Sam, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with served(predictor, tmp_path_factory.mktemp("serve"), LIMITS) as app:
        yield app


@pytest.fixture(scope="module")
def schema(service: Any) -> Any:
    return schemathesis.openapi.from_dict(service.openapi())


ROUTES = (*routes.router.routes, *openai.router.routes, *work_routes.router.routes)
OPERATIONS = [(method, route.path) for route in ROUTES for method in route.methods]  # type: ignore[attr-defined]


PICTURE = png()


def lend(body: Any) -> None:
    """Put a real medium in place of every one that was made up, so that the rest of the body matters."""
    for key, value in list(body.items() if isinstance(body, dict) else enumerate(body)):
        if key in ("media", "url", "file"):
            body[key] = PICTURE if key == "file" else url_of(PICTURE)
        elif isinstance(value, (dict, list)):
            lend(value)


def ask(case: Any, service: Any) -> None:
    """Call with the case; its medium is real, and its session open, more often than not."""
    if isinstance(case.body, dict) and len(repr(case.body)) % 3:
        lend(case.body)
    with Client(service.url) as client:
        headers = {"X-Client": client._http.headers["x-client"]}
        if "{id}" in case.path and len(str(case.path_parameters.get("id", ""))) % 3:
            remote = client.open(png())
            remote.start(regions=[{"box": (5, 5, 30, 30), "id": 1}], threshold=0.0)
            list(remote.frames())
            case.path_parameters["id"] = remote.id
        answer = case.call(base_url=service.url, headers=headers, timeout=120)
        case.validate_response(
            answer, checks=[not_a_server_error, content_type_conformance, response_schema_conformance]
        )
        for opened in service.state.store.of(f"127.0.0.1 {headers['X-Client']}"):
            service.state.store.close(opened.id)


@pytest.mark.parametrize("examples", [5, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_request_breaks_the_service(method: str, path: str, examples: int, schema: Any, service: Any) -> None:
    operation = schema[path][method]
    asks = bool(operation.body) or bool(list(operation.iter_parameters()))
    modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if asks else [])]

    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes]))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def run(case: Any) -> None:
        ask(case, service)

    run()


def test_the_schema_has_every_operation(schema: Any) -> None:
    listed = {(o.ok().method.upper(), o.ok().path) for o in schema.get_all_operations()}
    assert listed == set(OPERATIONS)
