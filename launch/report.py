"""A report of runs and sweeps as pages that open in a browser, without a network.

Examples:
  python launch/report.py RUN_DIR out=DIR
  python launch/report.py SWEEP_DIR OTHER_RUN out=DIR metric=psnr
  python launch/report.py runs/* out=DIR paper=symmetric_embeddings

Each directory is a run, a sweep or a folder of runs, in any state: running, failed and empty
ones are shown as such. Keys: out (a new directory, or an older report, which is replaced),
metric (what runs are judged by, on validation; default loss/total), split (whose values are
shown, default test where there are test evaluations, else val), any_code (average runs of
different code), paper (numbers to put beside ours: a file in docs/papers, or a path), title.
Open out/index.html.
"""

from orbit.core.config.program import run_program
from orbit.core.printing import say


def main(arguments: list[str]) -> None:
    from launch.reports.html.report import read_request
    from launch.reports.html.writing import size_of, write_report

    request = read_request(arguments)
    report = write_report(request)
    num = len(report.gathered.records)
    size = size_of(report.out) / 2**20
    runs = "run" if num == 1 else "runs"
    say(f"{num} {runs}, {len(report.curves.series)} curves, {size:.1f} MiB")
    if report.curves.most > 1 or report.gathered.stride > 1:
        say("curves are downsampled for display; the page says how")
    say(f"open {report.out / 'index.html'}")


if __name__ == "__main__":
    run_program(main, __doc__)
