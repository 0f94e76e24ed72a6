"""The JSON endpoints under a thousand requests that somebody made up from their document: no answer is a surprise.

Schemathesis makes them, right and wrong, and compares statuses, headers and bodies of the answers with the document.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from limits import RateLimitItemPerMinute
from schemathesis.config import SchemathesisConfig

from inbox.ui.app import alone
from inbox.ui.services import accounts, actions
from tests.ui.programs import STRICT, stocked

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        "checks": {
            # 422 is said of what is as the document says and yet cannot be done, such as cancelling what is dead
            "positive_data_acceptance": {"expected-statuses": ["2xx", 404, 422]},
        },
    }
)


def _document() -> dict[str, Any]:
    """Return the document, whose examples name what is there."""
    made = copy.deepcopy(STRICT)
    made["components"]["schemas"]["Id"]["examples"] = [1]
    return made


RUNNING: list[Flask] = []


def _application(environ: dict[str, Any], start_response: Any) -> Any:
    """Stand for the application, which is made later than the tests are collected."""
    return RUNNING[0](environ, start_response)


SCHEMA: Any = schemathesis.openapi.from_dict(_document(), config=CONFIG)
SCHEMA.app = _application


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An inbox with an event that failed, a conflict, a quarantined event, an action, and a pause; and a token."""
    with stocked(tmp_path_factory.mktemp("inbox")) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "inbox.ui.api.blueprint.TRIES", RateLimitItemPerMinute(10**9)
        )  # it tries wrong tokens all the time
        actions.begin(made.runtime, "replay", who="x", why="", ids=[1])
        actions.pause(made.runtime, "source", "open", who="x", why="")
        token = accounts.add_token(made.runtime, "schemathesis")
        RUNNING[:] = [alone(made.runtime)]
        yield {"headers": {"Authorization": f"Bearer {token}"}}


@SCHEMA.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_what_the_document_says(case: schemathesis.Case, given: dict[str, Any]) -> None:
    """Of every operation, to requests that keep to the document and to such that do not."""
    case.call_and_validate(**given)
