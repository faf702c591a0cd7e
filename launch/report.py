"""A report of runs and sweeps as pages that open in a browser, without a network.

Examples:
  python launch/report.py RUN_DIR out=DIR
  python launch/report.py SWEEP_DIR OTHER_RUN out=DIR metric=psnr
  python launch/report.py runs/* out=DIR paper=symmetric_embeddings
  python launch/report.py SWEEP_DIR out=DIR watch=true every=60

Each directory is a run, a sweep or a folder of runs, in any state: running, failed and empty
ones are shown as such. Keys: out (a new directory, or an older report, which is replaced),
metric (ranks the runs, on validation; default loss/total), split (the shown values, default
test if there are test evaluations, otherwise val), any_code (average runs of different code),
paper (published numbers to compare with: a file in docs/papers, or a path), title, watch (write
it again every 60 seconds, or every=SECONDS, until no run is active any more). Open
out/index.html.
"""

from typing import TYPE_CHECKING

from orbit.core.config.program import run_program
from orbit.core.printing import say

if TYPE_CHECKING:
    from launch.reports.html.report import Report


def main(arguments: list[str]) -> None:
    from launch.reports.html.report import read_request
    from launch.reports.html.writing import write_report
    from launch.reports.watching import written_anew

    request = read_request(arguments)
    report = write_report(request)
    tell(report)
    if request.every_s is None:
        return
    for again in written_anew(report, lambda: write_report(request), request.every_s):
        say(f"written anew at {again.written}")
    say("nothing runs any more")


def tell(report: "Report") -> None:
    """What was written, and where."""
    from launch.reports.html.writing import size_of

    num = len(report.gathered.records)
    size = size_of(report.out) / 2**20
    runs = "run" if num == 1 else "runs"
    say(f"{num} {runs}, {len(report.curves.series)} curves, {size:.1f} MiB")
    if report.curves.most > 1 or report.gathered.stride > 1:
        say("curves are downsampled for display; the page says how")
    again = f", rewritten every {report.every_s:g} s" if report.is_watching else ""
    say(f"open {report.out / 'index.html'}{again}")


if __name__ == "__main__":
    run_program(main, __doc__)
