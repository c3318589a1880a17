"""
How a job moves: bought once, watched, collected, ended; asked after where its end is in doubt.

:mod:`gateway.jobs.job` says how it may move, :mod:`~gateway.engine.worker` finds who is due,
:mod:`~gateway.engine.turns` whose turn that is, and :mod:`~gateway.engine.steps` takes one step, with these parts:

==============  ================================================================
``intents``     commits the intent to buy, or has a job stand in line
``choosing``    says whom to order from now
``buying``      hands an order over; money leaves there alone
``doubts``      finds out what became of an order nobody knows of
``unread``      keeps what an order was answered that nobody could read
``absence``     weighs the word of a provider that it has no such order
``watching``    looks at a task until its provider's verdict
``collecting``  ends a job with the clips of its task, or without
``fetching``    brings, keeps and removes clips
``ending``      ends a job, or lets it come again
``late``        settles after a job's end what was in doubt
==============  ================================================================

A part is built with the parts it calls and with what it uses of :mod:`~gateway.engine.tools`, and keeps nothing of a
job. How they stand on one another, and that few may import what buys, is held by the import contracts.
"""
