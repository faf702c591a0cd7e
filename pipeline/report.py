"""Results as text on a terminal."""

from collections.abc import Mapping
from typing import Any

from orbit.core.printing import rank_of_environment, say


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Two aligned columns: name and value."""
    width = max(len(name) for name in metrics)
    return "\n".join(f"  {name:{width}}  {value:>12.6g}" for name, value in metrics.items())


def print_result(result: Mapping[str, Any], run_dir: str) -> None:
    """Print how a run ended, on the first rank."""
    if rank_of_environment() != 0:
        return
    say(f"finished after step {result['step']}; best validation at step {result['best_step']}:")
    say(metrics_table(result["metrics"]))
    say(f"run directory: {run_dir}")
