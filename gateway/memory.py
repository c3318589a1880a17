"""
End the process where what everybody waits for breaks off, as it does where memory gives out.

A call or a step that gets no memory is refused or comes back. But where a callback of the loop, a thread or a task that
runs as long as the gateway breaks off in the middle, nobody goes on with it: the gateway would answer and do nothing.
What was acknowledged is on disk, so it ends at once, as by a power cut, and whoever keeps it running starts it anew.
"""

import asyncio
import errno
import os
import sys
import threading
from typing import Any, Final, NoReturn

STARVED: Final = os.EX_OSERR
"""How a process ends that lacked memory."""
LAST_WORDS: Final = b"reelgate: out of memory: ended in the middle of its work, to be started again\n"
"""Written beforehand: by then there may be no memory to write it."""
BROKEN_OFF: Final = "a task that everybody waits for broke off; the gateway ends, to be started again"


def lacks(error: BaseException | None) -> bool:
    """Whether an error says that there is no memory, or none for the stack of another thread; pure."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "new thread" in str(error))


def heed(loop: asyncio.AbstractEventLoop) -> None:
    """End this process as soon as its loop or a thread hears that there was no memory, or that a vital task is over."""
    others = threading.excepthook, sys.unraisablehook

    def of_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if lacks(context.get("exception")):
            end()
        loop.default_exception_handler(context)
        if context["message"] is BROKEN_OFF:
            os._exit(os.EX_SOFTWARE)

    def of_thread(args: threading.ExceptHookArgs) -> None:
        if lacks(args.exc_value):
            end()
        others[0](args)

    def of_nobody(args: "sys.UnraisableHookArgs") -> None:
        if lacks(args.exc_value):
            end()
        others[1](args)

    loop.set_exception_handler(of_loop)
    threading.excepthook, sys.unraisablehook = of_thread, of_nobody


def vital(task: "asyncio.Task[None]") -> "asyncio.Task[None]":
    """Have the loop hear of it when a task breaks off, whatever the reason, that is to run as long as the gateway."""
    task.add_done_callback(_mourn)
    return task


def _mourn(task: "asyncio.Task[None]") -> None:
    """Tell the loop why a task broke off."""
    if not task.cancelled() and (error := task.exception()) is not None:
        told = {"message": BROKEN_OFF, "exception": error, "task": task}
        task.get_loop().call_exception_handler(told)


def end() -> NoReturn:
    """End the process without another word: whatever else is to be done would take memory."""
    os.write(2, LAST_WORDS)
    os._exit(STARVED)
