"""Laws of the readers: whatever a client sends, the answer is a clip or an error that was meant."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.problems import ProblemError
from gateway.surfaces import _flow, chat, kie, newapi

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.just("user") | st.just("text"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.just("user") | JSON,
        "content": JSON
        | st.lists(
            st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"]), "text": JSON, "image_url": JSON}),
            max_size=4,
        ),
    }
)
GOOGLE = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(chat.GOOGLE, JSON),
        "config": JSON | st.dictionaries(st.sampled_from(sorted(chat.CONFIG)), JSON),
        "referenceImages": JSON | st.lists(st.fixed_dictionaries({"image": JSON, "referenceType": JSON}), max_size=4),
    },
)

READERS: dict[str, tuple[Callable[[dict[str, Any]], Any], st.SearchStrategy[dict[str, Any]]]] = {
    "chat": (
        lambda said: chat.read(chat.flatten(said)),
        st.fixed_dictionaries(
            {"messages": JSON | st.lists(MESSAGE, max_size=3)},
            optional={"google": JSON | GOOGLE, "extra_body": st.fixed_dictionaries({"google": GOOGLE}) | JSON},
        ),
    ),
    "createTask": (
        kie.read_task,
        st.fixed_dictionaries(
            {"input": JSON | st.dictionaries(st.sampled_from(sorted({*kie.INPUT, *kie.PICTURES})), JSON)},
            optional={"model": JSON, "callBackUrl": JSON},
        ),
    ),
    "veo": (kie.read_veo, st.dictionaries(st.sampled_from(sorted({*kie.VEO, *kie.VEO_ELSE})), JSON)),
    "new-api": (newapi.read, st.dictionaries(st.sampled_from(sorted(newapi.FIELDS)), JSON)),
    "flow": (_flow.read_video, st.dictionaries(st.sampled_from(sorted(_flow.VIDEO)), JSON)),
    "flow extend": (
        lambda said: _flow.read_source(said, _flow.EXTEND),
        st.dictionaries(st.sampled_from(sorted(_flow.EXTEND)), JSON),
    ),
    "flow form": (_flow.loosened, st.dictionaries(st.sampled_from(sorted(_flow.VIDEO)), TEXT | JSON)),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_garbage_is_refused_in_words(name: str, data: st.DataObject) -> None:
    """A reader gives fields and what the client calls them, or says which field is wrong; it never stumbles."""
    read, words = READERS[name]
    said = data.draw(words)
    problem: ProblemError | None = None
    fields: Any = {}
    try:
        found = read(said)
        fields = found[0] if isinstance(found, tuple) else found
    except ProblemError as error:
        problem = error
    assert problem is None or (problem.status in {400, 422} and problem.param and problem.message)
    assert all(isinstance(each, str) for each in fields)
