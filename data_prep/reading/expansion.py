"""How much a compressed file may unpack to."""

from pathlib import Path

HARMLESS_BYTES = 512 * 2**20
MAX_RATIO = 200


def check_expansion(path: Path, packed: int, unpacked: int, advice: str) -> None:
    """Refuse a file of `packed` bytes that unpacks to far more, before it does.

    Half a GiB is always allowed, and 200 times the file's size: blank frames may reach
    1000 times theirs. `advice` says how to give the file otherwise. Raises ValueError.
    """
    if unpacked > max(HARMLESS_BYTES, MAX_RATIO * packed):
        raise ValueError(
            f"{path} unpacks to {unpacked / 2**30:.3g} GiB, {unpacked // max(packed, 1)} times"
            f" its size; if that is right, {advice}"
        )
