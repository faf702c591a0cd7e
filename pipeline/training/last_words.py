"""How a run's process ended, in its own words: ended.json, for those who look from outside.

Who ran it by hand has no launcher that watches it. A process that is killed says nothing; what
is left of it then is a heartbeat that has stopped.
"""

import json
import os
import platform
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from orbit.core.config.program import (
    EXIT_COLLAPSED,
    EXIT_NON_FINITE,
    EXIT_STOPPED,
    ExitWithCode,
    describe_error,
)
from orbit.core.files.atomic import create_exclusively
from orbit.core.files.lock import LostLockError
from orbit.core.files.waiting import StoppedWaiting
from orbit.core.signals import StopRequest
from pipeline.training.distributed import FirstRankFailedError, World, is_cluster_fault
from pipeline.training.run_directory import ENDED_FILE, RunDirectory

NUM_LAST_LINES = 8
KINDS = {EXIT_STOPPED: "stopped", EXIT_COLLAPSED: "collapsed", EXIT_NON_FINITE: "non_finite"}


@contextmanager
def noting_the_end(run: RunDirectory, world: World, request: StopRequest) -> Iterator[None]:
    """Leave ended.json where what is done inside ends early; the first rank to fail writes it.

    Only for the owner of the run directory: a process that has lost it writes nothing. What an
    earlier start left is removed.
    """
    file = run.path / ENDED_FILE
    world.first_decides(lambda: file.unlink(missing_ok=True))
    try:
        yield
    except (FirstRankFailedError, LostLockError):
        raise
    except BaseException as error:
        words = _describe(error, request)
        if words["kind"] != "stopped" or world.is_first:
            where = {"rank": world.rank, "host": platform.node(), "pid": os.getpid()}
            with suppress(OSError):  # the disk may be what failed
                steps = run.checkpoints.steps()
                words |= {"step": steps[-1] if steps else None, "time": time.time(), **where}
                create_exclusively(file, json.dumps(words))
        raise


def _describe(error: BaseException, request: StopRequest) -> dict[str, Any]:
    """Kind, message and last lines of what ended a run."""
    if isinstance(error, KeyboardInterrupt):
        return {"kind": "stopped", "message": "", "signal": "SIGINT"}
    message = describe_error(error)
    if isinstance(error, ExitWithCode | StoppedWaiting):
        code = error.code if isinstance(error, ExitWithCode) else EXIT_STOPPED
        kind = KINDS.get(code, "failed")
        return {
            "kind": kind,
            "message": message,
            "signal": request.signal_name if kind == "stopped" else None,
        }
    if is_cluster_fault(error):
        return {"kind": "cluster_fault", "message": message}
    if isinstance(error, ValueError | OSError):
        return {"kind": "mistake", "message": message}
    text = "".join(traceback.format_exception(error)).splitlines()
    lines = [line for line in text if line.strip()][-NUM_LAST_LINES:]
    return {"kind": "crash", "message": f"{type(error).__name__}: {message}", "lines": lines}
