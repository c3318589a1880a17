"""Laws of errors: every dialect says the same problem in its own shape, and under its own names."""

from typing import Any

import pytest

from gateway.problems import ProblemError, invalid
from gateway.surfaces import _flow, kie, newapi
from gateway.surfaces.common import renamed

BUDGET = ProblemError(402, "budget_exceeded", "This key has spent its budget.")
CROWD = ProblemError(429, "rate_limited", "Too many calls; try again in 3 s.", headers={"retry-after": "3"})
SHUT = ProblemError(503, "store_unavailable", "The gateway cannot write to its store.")
SCOPE = ProblemError(403, "insufficient_scope", "This key lacks the scope 'write'.")
CRASH = ProblemError(500, "internal_error", "Something went wrong here.")


@pytest.mark.parametrize(
    ("problem", "kie_", "flow", "newapi_"),
    [
        (BUDGET, (402, 402), (402, str), 402),
        (CROWD, (429, 429), (429, dict), 429),
        (SHUT, (503, 455), (503, dict), 503),
        (SCOPE, (403, 403), (403, str), 403),
        (CRASH, (500, 500), (500, str), 500),
        (ProblemError(404, "model_not_found", "No account sells it."), (422, 422), (400, str), 404),
        (ProblemError(404, "unknown_url", "No such address."), (404, 404), (404, str), 404),
        (ProblemError(413, "too_large", "The body is larger."), (422, 422), (413, str), 413),
        (ProblemError(418, "odd", "A status nobody has a word for."), (500, 500), (418, str), 418),
    ],
)
def test_every_dialect_has_a_word_for_it(
    problem: ProblemError, kie_: tuple[int, int], flow: tuple[int, type], newapi_: int
) -> None:
    """Budgets, crowds and closed doors keep their meaning, and their sentence."""
    status, body = kie.write_problem(problem)
    assert kie_ == (status, body["code"])
    assert problem.message in body["msg"]
    status, said = _flow.write_problem(problem)
    assert flow == (status, type(said["error"]))
    assert problem.message == (said["error"]["message"] if flow[1] is dict else said["error"])
    status, told = newapi.write_problem(problem)
    assert (newapi_, problem.code, problem.message) == (status, told["code"], told["message"])


def test_a_crowd_at_flow_has_google_s_reason() -> None:
    """Scripts for useapi wait where they read it."""
    _, said = _flow.write_problem(CROWD)
    assert "PUBLIC_ERROR_USER_REQUESTS_THROTTLED" == said["error"]["details"][0]["reason"]


@pytest.mark.parametrize(
    ("problem", "names", "param", "message"),
    [
        (invalid("seconds", "seconds is a number."), {"seconds": "duration"}, "duration", "duration is a number."),
        (invalid("seconds", "It takes 4 seconds."), {"n": "count"}, "seconds", "It takes 4 seconds."),
        (invalid("n", "One of n."), {"n": "count", "seconds": "duration"}, "count", "One of count."),
        (invalid("frame_images[1].url", "No."), {"frame_images[1]": "endImage"}, "endImage", "endImage: No."),
        (invalid("frame_images[11]", "No."), {"frame_images[1]": "a", "frame_images": "b"}, "b", "b: No."),
        (invalid(None, "No."), {"n": "count"}, None, "No."),
        (
            invalid("seconds", "an extension adds 7 seconds; flow sells seconds 8, 4; not 5"),
            {"seconds": "parameters.durationSeconds"},
            "parameters.durationSeconds",
            "an extension adds 7 seconds; flow sells parameters.durationSeconds 8, 4; not 5",
        ),
        (invalid("seconds", "It is 8 seconds long."), {"seconds": "a"}, "a", "a: It is 8 seconds long."),
        (invalid("prompt", "A prompt is short."), {"prompt": "input.prompt"}, "input.prompt",
         "input.prompt: A prompt is short."),
        (invalid("voices", "Omni takes five voices"), {"voices": "b"}, "b", "b: Omni takes five voices"),
    ],
)  # fmt: skip
def test_names_are_the_client_s(problem: ProblemError, names: dict[str, str], param: Any, message: str) -> None:
    """The longest name that fits is translated, in the sentence too; plain words stay plain words."""
    said = renamed(problem, names)
    assert (param, message) == (said.param, said.message)


@pytest.mark.parametrize(
    ("param", "names", "said", "named"),
    [
        ("max_cost_usd", {}, {"prompt"}, None),
        ("seconds", {}, set(), None),
        ("seconds", {}, {"seconds"}, "seconds"),
        ("seconds", {"seconds": "duration"}, set(), "duration"),
        ("prompt", {}, set(), "prompt"),
        ("model", {}, set(), "model"),
        ("Idempotency-Key", {}, set(), "Idempotency-Key"),
        ("frame_images[0].url", {}, set(), None),
    ],
)
def test_no_field_is_named_that_the_client_has_not(
    param: str, names: dict[str, str], said: set[str], named: str | None
) -> None:
    """What it never said and has no word for is nothing it could change: not by name, and not by pointer."""
    problem = ProblemError(422, "no_offer", "No.", param=param, errors=[{"pointer": f"/{param}", "detail": "No."}])
    told = renamed(problem, names, said)

    assert named == told.param
    assert f"{named}: No." == told.message if named else told.message == "No."
    assert f"/{named}" == told.errors[0]["pointer"] if named else not told.errors[0]["pointer"]
