"""Laws of reading forms: every encoding the SDKs use, and no way to smuggle."""

import pytest

from gateway.api.nesting import nest


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("a", "1")], {"a": "1"}),
        ([("a[b]", "1")], {"a": {"b": "1"}}),
        ([("a[b][c]", "1"), ("a[b][d]", "2")], {"a": {"b": {"c": "1", "d": "2"}}}),
        ([("a.b", "1")], {"a": {"b": "1"}}),
        ([("a[b][]", "1"), ("a[b][]", "2"), ("a[c]", "3")], {"a": {"b": ["1", "2"], "c": "3"}}),
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a[]", "1")], {"a": ["1"]}),
        ([("a.0.b", "1"), ("a.1.b", "2")], {"a": [{"b": "1"}, {"b": "2"}]}),
        ([("metadata[42]", "a")], {"metadata": {"42": "a"}}),
        ([("metadata[0]", "a"), ("metadata[1]", "b")], {"metadata": {"0": "a", "1": "b"}}),
        ([("provider_options[flow][1]", "a")], {"provider_options": {"flow": {"1": "a"}}}),
        ([("provider_options.flow.a.0", "b")], {"provider_options": {"flow": {"a": ["b"]}}}),
        # By column, as the Python SDK sends it; by row, as the Node SDK does.
        (
            [("a[][u]", "1"), ("a[][u]", "2"), ("a[][t]", "3"), ("a[][t]", "4")],
            {"a": [{"u": "1", "t": "3"}, {"u": "2", "t": "4"}]},
        ),
        (
            [("a[][u]", "1"), ("a[][t]", "3"), ("a[][u]", "2"), ("a[][t]", "4")],
            {"a": [{"u": "1", "t": "3"}, {"u": "2", "t": "4"}]},
        ),
        ([("a[][u][v]", "1"), ("a[][u][v]", "2")], {"a": [{"u": {"v": "1"}}, {"u": {"v": "2"}}]}),
    ],
)
def test_names_are_paths(entries: list[tuple[str, str]], expected: dict[str, object]) -> None:
    """A form name says where its value belongs."""
    assert expected == nest(entries)


@pytest.mark.parametrize(
    "entries",
    [
        [("a", "1"), ("a", "2")],
        [("a", "1"), ("a[b]", "2")],
        [("a[b]", "1"), ("a[b]", "2")],
        [("a[b]", "1"), ("a[b][c]", "2")],
        [("a[b]", "1"), ("a[b][]", "2")],
        [("a[b][][c]", "1")],
        [("a[][u]", "1"), ("a[][u]", "2"), ("a[][t]", "3")],
        [("", "1")],
        [("[]", "1")],
        [("a" + "[b]" * 20, "1")],
    ],
)
def test_contradictions_are_refused(entries: list[tuple[str, str]]) -> None:
    """What cannot be told apart is an error, never a guess."""
    with pytest.raises(ValueError, match=r"twice|field name|both|differ|JSON"):
        nest(entries)
