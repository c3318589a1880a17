"""
The contract between the gateway and every provider; it names none of them.

Read in this order: :mod:`~providers.base.order` (what is wanted), :mod:`~providers.base.catalog`
(what is sold and at what price), :mod:`~providers.base.provider` (what an adapter does),
:mod:`~providers.base.task` (what it answers), :mod:`~providers.base.errors` (what can go wrong),
:mod:`~providers.base.wire` (the only way out), :mod:`~providers.base.reading` (how what comes back is read).
"""
