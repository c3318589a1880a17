"""
What outlives the process: rows on SQLite or PostgreSQL, receipts beside them, and every query by its name in ``sql/``.

:mod:`~gateway.store.database` says what is asked of a database; :mod:`~gateway.store.store` and those beside it are the
verbs the rest of the gateway knows.
"""
