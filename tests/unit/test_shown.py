"""Laws of the answers that are kept to be given again."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.desk import Reply, Shown


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=40))
def test_answers_are_kept_within_bounds(put: list[tuple[int, int]]) -> None:
    """Those that are kept are the newest, and as many as their number and their bytes together allow."""
    shown = Shown(most=4, most_bytes=100)
    order: dict[int, int] = {}
    for key, size in put:
        answer = Reply(200, {}, bytes(size))
        assert answer is shown.put(key, answer)
        order.pop(key, None)
        order[key] = size
        newest = [*order.items()][::-1]
        fits = [at for at in range(min(4, len(newest)) + 1) if sum(each for _, each in newest[:at]) <= 100]
        kept = dict(newest[: max(fits)])
        assert kept == {each: found.size for each in range(6) if (found := shown.get(each)) is not None}
        order = {each: order[each] for each in order if each in kept}
