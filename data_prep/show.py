"""Describe a prepared dataset and write a contact sheet; for episodes also an animation.

Examples:
  python data_prep/show.py DIR
  python data_prep/show.py DIR out=sheet.png split=val json=true

Keys: out (default DIR/contact_sheet.png; the animation gets the same name with the ending gif, by
default DIR/episodes.gif), split (default train; for episodes test, which has their rotated copies),
json. If DIR is read-only and no out is given, no pictures are written.
"""

import errno
import json
import os
from pathlib import Path

from orbit.core.config.program import run_program, take_directory, take_switch, take_value
from orbit.core.printing import say

NOT_TO_BE_WRITTEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def main(arguments: list[str]) -> None:
    as_json = take_switch(arguments, "json")
    split = take_value(arguments, "split", "")
    out = take_value(arguments, "out", "")
    root = Path(take_directory(arguments, "dataset"))

    from data_prep.building.identity import describe
    from data_prep.sheets import write_pictures
    from orbit.core.store.manifest import as_plain
    from orbit.core.store.reader import PairStore

    store = PairStore(root)
    can_write = bool(out) or os.access(root, os.W_OK)
    try:
        pictures = write_pictures(store, Path(out) if out else None, split) if can_write else {}
    except OSError as error:
        if out or error.errno not in NOT_TO_BE_WRITTEN:
            raise
        can_write, pictures = False, {}
    if as_json:
        say(json.dumps(as_plain(store.manifest), indent=2))
    else:
        say(describe(store.manifest))
        for what, path in pictures.items():
            say(f"{what}: {path}")
    if not can_write:
        say(f"no pictures: {root} cannot be written; set out=sheet.png", error=True)


if __name__ == "__main__":
    run_program(main, __doc__)
