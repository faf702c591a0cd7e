"""Work for other processes that goes wrong; a module of its own so that they can find it."""

import os
import signal
import sys
import time


def end_by(how: str) -> None:
    """End this process by a signal, or with an exit code; `wait` does nothing for a while."""
    if how == "wait":
        time.sleep(0.2)
    elif how.isdigit():
        sys.stdout.flush()
        os._exit(int(how))
    else:
        os.kill(os.getpid(), getattr(signal, how))
