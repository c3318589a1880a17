"""Laws of a power cut at every named place: nothing is bought twice, nothing is lost, doubt is shown."""

import random
from pathlib import Path

from gateway.failpoints import NAMES
from tests.crash.arena import KINDS, Arena, arena, wait
from tests.server import eventually

POINTS = (*NAMES, "kill sending", "kill sent")
"""Failpoints of the gateway, and the two places that only its provider can see."""
DOUBT = {"after_intent", "kill sending", "kill sent", "after_answer"}
"""Where nobody can tell whether the order was taken."""


def expected(point: str, kind: str) -> str:
    """Say how a job ends whose gateway died at a point: only who cannot be asked leaves a doubt."""
    return "submission_unknown" if point in DOUBT and kind in "ce" else "completed"


def die(arena: Arena, point: str, kind: str) -> None:
    """Order, and die on the way."""
    trick = f"[{point}] " if point.startswith("kill") else ""
    arena.start("" if trick else point)
    arena.want(f"{trick}{point} {kind}", kind)
    arena.died()


def survive(arena: Arena, cases: list[tuple[str, str]], *, one_by_one: bool) -> dict[str, str]:
    """
    Die at each point in turn; then look what became of it all, and answer how it ended.

    One by one, each job is cleared up before the next is ordered, so that its end is known exactly; else each start
    clears up after the last, and may die once more over that.
    """
    for point, kind in cases:
        if one_by_one:
            arena.recover()
        die(arena, point, kind)
    arena.start()
    ends = arena.ended(seconds=60)

    arena.check(ends)
    if one_by_one:
        found = {case: ends[wanted.key] for wanted, case in zip(arena.wanted, cases, strict=True)}
        assert found == {case: expected(*case) for case in cases}
    return ends


def test_every_point_once(tmp_path: Path) -> None:
    """
    Each place once, each with another class of provider; every pair of both is `make prove`'s business.

    First those that nothing but their deadline ends, else last place first: who has died once is past the next. Who
    dies twice is tried by itself, once a gateway has lived longer than any of these does.
    """
    cases = [(point, KINDS[at % len(KINDS)]) for at, point in enumerate(POINTS)][::-1]
    cases.sort(key=lambda case: case[0] not in DOUBT)
    with arena(tmp_path, deadline=15) as here:
        survive(here, cases, one_by_one=False)
        assert here.kills >= len(cases)


def test_doubt_is_shown(tmp_path: Path) -> None:
    """Where nobody can tell, the client is told so within seconds, and at the deadline that it may have been billed."""
    with arena(tmp_path, deadline=12) as here:
        die(here, "kill sent", "e")
        here.start()
        (wanted,) = here.wanted
        if wanted.id is None:
            here.ask(wanted)
        eventually(lambda: here.video(wanted)["status_detail"] == "unknown", seconds=5)
        ends = here.ended(seconds=30)
        assert ends == {wanted.key: "submission_unknown"}
        assert here.bought() == {wanted.prompt: 1}


def test_random_kills(tmp_path: Path) -> None:
    """Killed at any moment, with a provider that breaks off, lies and loses."""
    with arena(tmp_path, deadline=18, seed=1, trouble=0.2) as here:
        random_kills(here, random.Random(1), 12)
        here.start()
        here.check(here.ended(seconds=60))


def random_kills(here: Arena, chance: random.Random, cycles: int) -> None:
    """Start, order, kill whom chance will, and again; a database that is mortal dies now and then, too."""
    for _ in range(cycles):
        here.start()
        for _ in range(chance.randint(1, 3)):
            here.want("random", chance.choice(KINDS))
        wait(chance.uniform(0.0, 0.6))
        if here.mortal and chance.random() < 0.25:
            here.crash_database(lambda: here.want("outage", chance.choice(KINDS)))
        chance.choice([each for each in (here.server, here.worker) if each is not None]).kill()
        here.kills += 1
