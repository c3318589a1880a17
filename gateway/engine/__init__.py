"""
How a job moves: bought once, watched, collected, ended; asked after where its end is in doubt.

:mod:`~gateway.engine.job` says how it may move, :mod:`~gateway.engine.worker` finds who is due,
:mod:`~gateway.engine.turns` whose turn that is, and :mod:`~gateway.engine.steps` takes one step, with these parts:

============================================  ===================================================
:mod:`~gateway.engine.intents`                commits the intent to buy, or has a job stand in line
:mod:`~gateway.engine.choosing`               whom to order from now
:mod:`~gateway.engine.buying`                 hands an order over: money leaves there alone
:mod:`~gateway.engine.doubts`                 finds out what became of an order nobody knows of
:mod:`~gateway.engine.absence`                weighs the word that there is no such order
:mod:`~gateway.engine.watching`               looks at a task until its provider's verdict
:mod:`~gateway.engine.collecting`             brings the clips of a task that is done
:mod:`~gateway.engine.ending`                 ends a job, or lets it come again
:mod:`~gateway.engine.late`                   settles what is in doubt after a job's end
============================================  ===================================================

A part is given the parts it calls and what it uses of :mod:`~gateway.engine.tools`, and keeps nothing of a job.
"""
