"""torchrun that gives its ranks time to save: `python slurm/torchrun.py SECONDS
TORCHRUN_ARGUMENTS...`.

After a stop signal torchrun kills its ranks, by default after 30 s. Since version 2.12 torch has an
option for this time; this file sets it for older versions too.
"""

import os
import sys

SHUTDOWN_TIMEOUT = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"


def give_time(seconds: int) -> None:
    """Give ranks at least `seconds` between a stop signal and being killed."""
    from torch.distributed.elastic.multiprocessing.api import PContext

    os.environ[SHUTDOWN_TIMEOUT] = str(seconds)
    close = PContext.close

    def close_with_patience(self, death_sig=None, timeout=30):  # type: ignore[no-untyped-def]
        close(self, death_sig, max(timeout, seconds))

    PContext.close = close_with_patience  # type: ignore[method-assign]


def main(words: list[str]) -> None:
    if len(words) < 2 or not words[0].isdecimal():
        sys.exit("torchrun.py: give the seconds that ranks have for saving, then torchrun's words")
    give_time(int(words[0]))

    from torch.distributed.run import main as run

    run(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
