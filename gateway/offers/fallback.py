"""Keep a job to what it was quoted, or say who takes its turn, and why: pure."""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from gateway.jobs.wish import Choice, Place
from gateway.offers.routing import Decision

OTHERS = 8
"""How many of the next best are kept with a job."""


def still(
    decision: Decision,
    quoted: Choice,
    spent: Mapping[Place, str],
    late: Collection[Place] = (),
    *,
    keeps: bool,
    begun: bool,
) -> list[Choice]:
    """
    Keep a job to what it was quoted, the best that can now first, with those that take its turn where it is full.

    What is ``spent`` is out; each says what it did. A job that ``keeps`` to its offer is made there alone, at the
    account it was quoted at or where it costs no more. Until an order was ``begun`` nobody is asked who asks more, as
    long as anybody does not. What ``split`` drew stays drawn while it can be had at all, and so does the model that
    was named: to be full is no reason for another. Who is ``late`` comes in where nobody else is left.
    """
    able = [line.choice for line in decision.ranked if line.choice]
    able = [each for each in able if each.place not in spent]
    if keeps:
        able = [each for each in able if each.offer == quoted.offer]
        able = [each for each in able if each.account == quoted.account or each.usd_micros <= quoted.usd_micros]
    if not begun:
        able = [each for each in able if each.usd_micros <= quoted.usd_micros] or able
    if able and decision.policy == "split":
        drawn = quoted.offer if quoted.offer in {each.offer for each in able} else able[0].offer
        able = [each for each in able if each.offer == drawn]
    able = [each for each in able if each.usd_micros <= able[0].usd_micros]
    able = [each for each in able if each.place not in late] or able
    if able:
        model = quoted.model if quoted.model in {each.model for each in able} else able[0].model
        able = [each for each in able if each.model == model]
    names = [each.offer for each in able]
    return [
        replace(each, why=quoted.why, others=quoted.others)
        if each.offer == quoted.offer
        else replace(
            each,
            why=_why_instead(decision, each, quoted, spent, late, is_before=quoted.offer not in names[at:]),
            others=beside(decision, each),
        )
        for at, each in enumerate(able)
    ]


def beside(decision: Decision, taken: Choice) -> tuple[tuple[str, int], ...]:
    """Say what the next best would have cost: offers and micro-dollars."""
    others = (line for line in decision.ranked if (line.account, line.name) != (taken.account, taken.offer))
    return tuple([(line.name, line.choice.usd_micros) for line in others if line.choice][:OTHERS])


def _why_instead(
    decision: Decision,
    taken: Choice,
    quoted: Choice,
    spent: Mapping[Place, str],
    late: Collection[Place],
    *,
    is_before: bool,
) -> str:
    """Say why an offer is taken that was not quoted: how it won, and what the one lacks that ``is_before`` it."""
    first = decision.ranked[0]
    won = (first.account, first.name) == (taken.account, taken.offer)
    if not is_before:
        return decision.why if won else _lack(decision, first.name, taken, spent, late)
    lack = _lack(decision, quoted.offer, taken, spent, late)
    return f"{decision.why}: {lack}" if won else lack


def _lack(
    decision: Decision,
    name: str,
    taken: Choice,
    spent: Mapping[Place, str],
    late: Collection[Place],
) -> str:
    """Say why an offer is not taken."""
    known = [line for line in (*decision.ranked, *decision.others) if line.name == name]
    lines = [line for line in known if (line.account, name) not in spent]
    able = [line.choice for line in lines if line.choice]
    if not known:
        return f"{name} is not sold here any more"
    if not lines:
        return f"{name} {spent[known[-1].account, name]}"
    if not able:
        told = next((refusal.message for line in lines for refusal in line.refusals), "")
        return f"{name} cannot make it now ({told})"
    if all(each.place in late for each in able):
        return f"{name} would be too late"
    if all(each.usd_micros > taken.usd_micros for each in able):
        return f"{name} asks more"
    return f"{name} had no place free"
