"""Results as text on a terminal."""

import os
from collections.abc import Mapping
from typing import Any


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Two aligned columns: name and value."""
    width = max(len(name) for name in metrics)
    return "\n".join(f"  {name:{width}}  {value:>12.6g}" for name, value in metrics.items())


def print_result(result: Mapping[str, Any], run_dir: str) -> None:
    """Say how a run ended, on the first rank."""
    if os.environ.get("RANK", "0") != "0":
        return
    print(f"finished after step {result['step']}; best validation at step {result['best_step']}:")
    print(metrics_table(result["metrics"]))
    print(f"run directory: {run_dir}")
