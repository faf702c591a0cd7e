"""Find the subgroup of O(2) that the pairs of a dataset obey. No group element is read.

Examples:
  python pipeline/discover.py DIR
  python pipeline/discover.py DIR split=test pairs=500 json=true

Keys: split (default train), pairs (how many, spread over the split; default 200), json. For each
pair (x, x') the turn or reflection is inferred that leads from x to x', and the subgroup is the one
under which all of them are likeliest: C1 to C12, SO(2), D1 to D12 or O(2). Two measures of doubt
stand beside it, and how much of the change between x and x' the elements leave unexplained. Frames
must be square images.
"""

import dataclasses
import json
from pathlib import Path

from orbit.core.config.program import run_program, take_directory, take_switch, take_value
from orbit.core.printing import say
from orbit.core.user_text import parse_integer


def main(arguments: list[str]) -> None:
    as_json = take_switch(arguments, "json")
    split = take_value(arguments, "split", "train")
    text = take_value(arguments, "pairs", "200")
    root = Path(take_directory(arguments, "dataset"))
    num = parse_integer(text)
    if num is None or num < 1:
        raise ValueError(f"pairs={text} must be an integer of at least 1")

    from orbit.core.store.reader import PairStore
    from pipeline.discovery import check_pairs, discover, elements_of_pairs, report_lines

    store = PairStore(root)
    check_pairs(store.manifest, split)
    elements, change_left = elements_of_pairs(
        store.split(split), store.manifest.frames.stored_range, num
    )
    found = discover(elements)
    if as_json:
        content = {
            **dataclasses.asdict(found),
            "num_pairs": len(elements.angle),
            "change_left": change_left,
        }
        say(json.dumps(content, indent=2))
        return
    for line in report_lines(found, len(elements.angle), split, change_left):
        say(line)


if __name__ == "__main__":
    run_program(main, __doc__)
