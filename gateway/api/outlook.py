"""Say how long a video should take: as its offer was observed to take, and after those who come before it."""

from gateway.api.answers import Outlook
from gateway.api.desk import Desk
from gateway.jobs.job import Job, State

MOST_AHEAD = 100
"""How far back in line a place is told: every answer counts who comes before."""


async def outlook(services: Desk, job: Job) -> Outlook:
    """Look ahead for a job; of one that stands in no line nothing is read."""
    observed = services.shop.speeds.get(job.offer or "")
    if not stands_in_line(job):
        return Outlook(observed, wait=0.0)
    accounts = services.shop.accounts
    ahead = await services.store.ahead(job.id, MOST_AHEAD)
    near = [(name, count) for name, count in ahead if name in accounts and count < MOST_AHEAD]
    position = 1 + min(count for _, count in near) if near else None
    halted = await services.store.halted()
    if observed is None or position is None or halted is not None:
        return Outlook(observed if halted is None else None, position, halted=halted)
    # Of so many places one comes free each so manieth part of the time a clip takes.
    turn = min(observed * (count + 1) / accounts[name].max_running for name, count in near)
    return Outlook(observed, position, turn + (services.clock() - job.updated_at) / 1000)


def stands_in_line(job: Job) -> bool:
    """Whether a job waits for a place at a full account: a queued one that has an account."""
    return job.state is State.QUEUED and job.account is not None
