"""What schemathesis checks of every answer beside its own list: the one shape of what is no success, and discretion."""

import schemathesis

from tests.abuse.target import check_discreet, check_problem
from tests.abuse.wire import Answer


@schemathesis.check
def problem_shape(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """What is no success is a problem in its shape, and shows nothing of the inside."""
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    answer = Answer(response.status_code, headers, response.content, response.elapsed)
    check_discreet(answer)
    if answer.status >= 400 and response.request.method != "HEAD":
        check_problem(answer)


@schemathesis.hook
def filter_case(ctx: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leave out uploads whose purpose is no text: in a form whatever is sent is text, and an empty list is not sent."""
    del ctx
    upload = case.operation.path == "/v1/files" and isinstance(case.body, dict)
    return not upload or isinstance(case.body.get("purpose", ""), str)
