"""Collect the metrics of a sweep's runs: a table of all rows, and means over seeds.

Examples:
  python launch/collect.py DIR
  python launch/collect.py DIR out=table.csv metric=psnr
  python launch/collect.py DIR json=true > table.json

DIR is a sweep or any folder of run directories. The CSV file (out=, default DIR/table.csv)
has a row for each run and evaluated step; what is printed is mean and sample standard
deviation over seeds at every point. The best point is chosen on validation; another split is
shown beside it. Runs that were made by different code are not averaged, unless any_code=true.
Keys: out, metric (default loss/total), split (shown beside validation, default test where there
are test evaluations), any_code, json (print everything as JSON; a CSV file only with out=).
"""

import json
from pathlib import Path

from orbit.core.config.program import run_program, take_directory, take_switch, take_value
from orbit.core.printing import say
from orbit.core.user_text import counted


def main(arguments: list[str]) -> None:
    as_json, any_code = take_switch(arguments, "json"), take_switch(arguments, "any_code")
    metric = take_value(arguments, "metric", "loss/total")
    split = take_value(arguments, "split", "")
    out = take_value(arguments, "out", "")
    root = Path(take_directory(arguments, "sweep"))

    from launch.reports.collecting import as_csv, make_table, read_runs
    from launch.reports.seed_summary import as_plain, as_text, summarise
    from orbit.core.files.atomic import write_text

    runs, complaints = read_runs(root)
    for line in complaints:
        say(f"collect: {line}", error=True)
    table, summary = make_table(runs), summarise(runs, metric, split or None, any_code)
    file = Path(out) if out else root / "table.csv"
    if not file.parent.is_dir():
        raise FileNotFoundError(f"out={out}: there is no directory {file.parent}")
    if out or not as_json:
        write_text(file, as_csv(table))
    if as_json:
        say(json.dumps(as_plain(table, summary), indent=2, allow_nan=False))
        return
    say(as_text(summary))
    say(f"{counted(len(table.rows), 'row')} of {counted(len(runs), 'run')}: {file}")


if __name__ == "__main__":
    run_program(main, __doc__)
