"""Describe a prepared dataset and write a contact sheet of its pairs.

Examples:
  python data_prep/show.py DIR
  python data_prep/show.py DIR out=sheet.png split=val json=true

Keys: out (default DIR/contact_sheet.png), split, json.
"""

import dataclasses
import json
from pathlib import Path

from pipeline.config.program import run_program, take_directory, take_switch, take_value


def main(words: list[str]) -> None:
    as_json = take_switch(words, "json")
    split = take_value(words, "split", "train")
    out = take_value(words, "out", "")
    root = Path(take_directory(words, "dataset"))

    from data_prep.contact_sheet import write_contact_sheet
    from data_prep.store.description import describe
    from data_prep.store.reader import PairStore

    store = PairStore(root)
    sheet = Path(out) if out else root / "contact_sheet.png"
    write_contact_sheet(sheet, store, split)
    if as_json:
        print(json.dumps(dataclasses.asdict(store.manifest), indent=2))
    else:
        print(describe(store.manifest))
        print(f"contact sheet: {sheet}")


if __name__ == "__main__":
    run_program(main, __doc__)
