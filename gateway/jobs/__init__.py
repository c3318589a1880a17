"""
What a video is to the gateway, whoever speaks of it: what was asked for, how its job may move, what came of its task.

:mod:`~gateway.jobs.wish` is what a row keeps of a call and of the offer chosen, :mod:`~gateway.jobs.job` the states
and the moves between them, :mod:`~gateway.jobs.finished` a task that is done and not all kept yet. All of it is pure.
"""
