"""Reads one epoch of a dataset through the loader, then prints its resident memory as JSON."""

import json
import sys
from pathlib import Path

import torch

from orbit.core.store.reader import PairStore
from pipeline.data.batches import TrainBatches, make_train_order
from pipeline.data.loader import Loader, LoaderConfig

BATCH = 256


def main(data: str) -> None:
    reader = PairStore(Path(data)).split("train")
    order = make_train_order(reader, "stored", 0, BATCH, "drop")
    batches = TrainBatches(reader, order, "stored", 0, 1)
    for _ in Loader(batches, 0, order.num_steps(1), torch.device("cpu"), LoaderConfig()):
        pass
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kib = {name: int(status[name].split()[0]) for name in ("RssAnon", "RssFile")}
    print(json.dumps({"own": kib["RssAnon"] / 1024, "files": kib["RssFile"] / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
