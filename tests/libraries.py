"""Load what the gateway stands on and is no part of it, and leave that out of every later search for garbage."""

import concurrent.futures.process  # noqa: F401
import gc
import sqlite3  # noqa: F401

import asyncpg  # noqa: F401
import cyclopts  # noqa: F401
import granian.server.embed  # noqa: F401
import httpx  # noqa: F401
import jwt  # noqa: F401
import litestar.openapi.config
import litestar.plugins.attrs
import litestar.plugins.pydantic  # noqa: F401
import prometheus_client  # noqa: F401
import rich.progress  # noqa: F401
import standardwebhooks  # noqa: F401
import structlog  # noqa: F401
import uvloop  # noqa: F401

gc.collect()
gc.freeze()
