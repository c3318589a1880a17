"""
How a job moves: bought once, watched, collected, ended; asked after where its end is in doubt.

:mod:`~gateway.engine.job` says how it may move, :mod:`~gateway.engine.worker` finds who is due, and
:mod:`~gateway.engine.steps` takes one step. Money leaves in :mod:`~gateway.engine.buying` alone.
"""
