"""Errors as problem documents."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from tests.unit.api.api_rig import Plane, served

from dataferry.api import problems
from dataferry.api.access import AccessLog
from dataferry.domain import errors
from dataferry.domain.errors import DataFerryError


def tree(root: type[DataFerryError] = DataFerryError) -> Iterator[type[DataFerryError]]:
    """Every class of the error tree."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_error_that_a_caller_can_cause_is_a_4xx() -> None:
    """Only temporary faults of others, our database's and our own end, and unknown faults are 5xx."""
    ours = {
        errors.DataFerryError,
        errors.ThrottledError,
        errors.ConnectionFailedError,
        errors.ServerError,
        errors.StoppedError,
        errors.DatabaseUnavailableError,
        errors.ExhaustedError,
        errors.TimedOutError,
    }
    found = {
        kind for kind in tree() if kind.__module__ == errors.__name__ and problems.status_of(kind("x")) >= 500
    }
    assert ours == found


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InputError, 400),
        (errors.AddressError, 400),
        (errors.ProfileError, 400),
        (errors.UnsupportedError, 400),
        (errors.UnauthorizedError, 401),
        (errors.ForbiddenError, 403),
        (errors.EgressDeniedError, 403),
        (errors.NotFoundError, 404),
        (errors.TransitionError, 409),
        (errors.DuplicateProcessError, 409),
        (errors.StaleVersionError, 409),
        (errors.TooLargeError, 413),
        (errors.BucketNotFoundError, 422),
        (errors.AccessDeniedError, 422),
        (errors.ConfigError, 422),
    ],
)
def test_each_kind_has_its_status(error: type[DataFerryError], status: int) -> None:
    """The nearest ancestor in the table decides."""
    assert status == problems.status_of(error("x"))


def test_what_the_framework_refuses_is_a_problem_too(api: Plane) -> None:
    """No such path, and a wrong method."""
    missing = api.client.get("/nowhere?token=secret")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert missing.json()["instance"] == "/nowhere"
    wrong = api.client.get("/api/v1/dataflows/prepare")
    assert wrong.status_code == 405
    assert wrong.json()["type"] == "urn:dataferry:problem:method_not_allowed"
    assert wrong.headers["allow"] == "POST"


def test_an_unexpected_error_tells_an_id_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """The answer has no trace and no message of the error; the log has both under the id."""
    application = FastAPI()
    problems.install(application)
    application.add_middleware(AccessLog)

    @application.get("/fails")
    def fails() -> None:
        raise RuntimeError("an inner secret")

    with served(application) as url:
        answer = httpx.get(f"{url}/fails?q=query-secret", trust_env=False)
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.json()["detail"]
    assert "inner secret" not in answer.text
    assert "Traceback" not in answer.text
    records = [record for record in caplog.records if "request_failed" in str(record.msg)]
    assert answer.headers["x-request-id"] in str(records[0].msg)
    assert not any("query-secret" in str(record.msg) for record in records)


def test_a_waiting_time_is_passed_on() -> None:
    """What another side asked to wait stands in Retry-After."""
    answer = problems.of_error(errors.ThrottledError("slow down", retry_after_s=7.2))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


def test_requests_have_an_id_and_a_line_without_query_or_credentials(
    api: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    """A sensible id is kept, another is replaced; the line names the path only."""
    headers = {"X-Request-Id": "abc-123", "Authorization": "Bearer very-secret-token"}
    assert api.client.get("/healthz", headers=headers).headers["x-request-id"] == "abc-123"
    odd = api.client.get("/nowhere?signature=hidden", headers=headers | {"X-Request-Id": "two words"})
    assert odd.headers["x-request-id"] != "two words"
    # pytest listens to the server's own access log too, which the service turns off.
    lines = [str(record.msg) for record in caplog.records if record.name.startswith("dataferry.")]
    assert any("/nowhere" in line for line in lines)
    assert not any("hidden" in line or "very-secret-token" in line for line in lines)
