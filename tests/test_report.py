"""launch/report.py: which runs it finds, and what its pages say of them.

Protects that runs in any state appear with their reason, that tables and scripts hold the
right numbers, and that nothing a run is called can break a page.
"""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from helpers.html import table_of, text_of, value_of_script
from helpers.programs import call
from helpers.reporting import finish, write_log, write_run

from launch.reports.html.gathering import find_runs, gather, unique_names
from launch.reports.html.headline import make_headline
from launch.reports.html.pictures import choose_galleries, find_gallery
from orbit.core.files.atomic import write_json

PROGRAM = "launch/report.py"
ALL_VARIANT = ["task.mask.name=fixed", "task.mask.variant_fraction=1.0"]


# Finding runs


def kinds(*paths: Path) -> list[tuple[str, list[str]]]:
    return [(root.kind, [run.name for run in root.runs]) for root in find_runs(paths)]


def test_runs_folders_and_sweeps_are_told_apart(tmp_path: Path, mixed_sweep: Path) -> None:
    write_run(tmp_path / "folder/a")
    (tmp_path / "folder/empty").mkdir()
    (tmp_path / "folder/notes").mkdir()
    (tmp_path / "folder/notes/text.txt").write_text("")
    (tmp_path / "nothing").mkdir()
    assert kinds(tmp_path / "folder/a") == [("run", ["a"])]
    assert kinds(tmp_path / "folder") == [("folder", ["a", "empty"])]
    assert kinds(tmp_path / "nothing") == [("run", ["nothing"])]
    ((kind, names),) = kinds(mixed_sweep)
    assert (kind, len(names)) == ("sweep", 15)
    assert {"never", "failed", "broken"} <= set(names)
    assert kinds(tmp_path / "folder", tmp_path / "folder/a")[1] == ("run", [])


def test_a_plan_that_cannot_be_read_does_not_hide_the_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a")
    (tmp_path / "plan.json").write_text("{")
    (root,) = find_runs([tmp_path])
    assert (root.kind, [run.name for run in root.runs]) == ("folder", ["a"])
    assert "plan.json" in str(root.unchecked)


def test_names_are_unique() -> None:
    found = unique_names([("x", "a"), ("y", "a"), ("y", "b"), ("y", "a")])
    assert found == ["x/a", "y/a", "b", "y/a (2)"]


# What the pages say


def test_the_report_is_complete(mixed_report: Path) -> None:
    names = {path.name for path in mixed_report.iterdir()}
    pages = {"index", "paper", "curves", "pictures", "runs", "effects", "speed"}
    assert {f"{page}.html" for page in pages} <= names
    for page in mixed_report.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r'(?:src|href)="([^"#]+)"', text):
            assert not re.match(r"[a-z]+:|//", link) or link.startswith("data:"), link
            if not link.startswith("data:"):
                assert (mixed_report / link).exists(), f"{page.name}: {link}"
        assert text.count("<main") == text.count("<h1") == text.count("<title>") == 1
        assert 'lang="en"' in text
    assert len(list(mixed_report.rglob("plotly*.js"))) == 1


def test_the_front_table_has_means_over_seeds(mixed_report: Path) -> None:
    rows = table_of(mixed_report / "index.html", "Mean ± sample")
    assert [cell.split()[0] for cell in rows[0]][:4] == ["width", "tau", "seeds", "loss/total"]
    body = {(row[0], row[1]): row[2:] for row in rows[1:]}
    assert len(body) == 6
    # Seeds 0 and 1 at tau 0.3: 0.30 and 0.31.
    assert body["4", "0.3"][:2] == ["2", "0.3050 ± 0.0071"]
    assert rows[1][1] == "0.3"
    assert rows[-1][1] == "0.7"
    assert "tau0.3_width4_seed0" in text_of(mixed_report / "index.html")


def test_the_front_says_what_was_run(mixed_report: Path) -> None:
    text = text_of(mixed_report / "index.html")
    for said in ("rotated_digits", "0123456789ab", "2023-11-14", "a processor", "torch 2.14.1"):
        assert said in text, said
    assert "crash: KeyError" in text
    assert "config.yaml cannot be read" in text


def test_every_run_is_listed_with_its_state_and_reason(mixed_report: Path) -> None:
    rows = table_of(mixed_report / "runs.html")
    found = {row[0]: row[1] for row in rows[1:]}
    assert len(found) == 15
    assert found["never"].endswith("planned")
    assert found["failed"].endswith("failed crash: KeyError")
    assert "lost" in found["broken"] or "planned" in found["broken"]
    assert "evaluated" in found["tau0.5_width8_seed1"]
    by_name = {row[0]: row for row in rows[1:]}
    assert by_name["never"][2:5] == ["4", "0.9", "0"]
    assert by_name["tau0.5_width8_seed1"][-3:] == ["0.5100", "25.00", "0.5000"]
    text = (mixed_report / "runs.html").read_text()
    (page,) = re.findall(r'href="(run-\d+\.html)"[^>]*>tau0\.5_width8_seed1<', text)
    assert (mixed_report / page).is_file()


def test_effects_are_marginal_means(mixed_report: Path) -> None:
    rows = table_of(mixed_report / "effects.html", "loss/total ↓ (lower is better) by task.tau")
    assert [row[0] for row in rows[1:]] == ["0.3", "0.5", "0.7"]
    assert rows[1][1:] == ["0.3050 ± 0.0058", "4"]
    text = text_of(mixed_report / "effects.html")
    assert text.index("task.tau 100%") < text.index("task.model.width 0%")


def test_costs_add_up(mixed_report: Path) -> None:
    text = text_of(mixed_report / "speed.html")
    # 12 finished runs of 40 s and a failed one of 24 s, on two ranks each.
    assert f"rank-hours on processors {2 * (12 * 40 + 24) / 3600:.3g}" in text
    rows = table_of(mixed_report / "speed.html")
    row = next(row for row in rows if row[0] == "tau0.5_width8_seed1")
    assert row[1:4] == ["320.0", "25.0%", "502.0"]


def test_scripts_hold_what_was_logged(mixed_report: Path, mixed_sweep: Path) -> None:
    data = value_of_script(mixed_report / "data/runs.js")
    numbers = {run["name"]: number for number, run in enumerate(data["runs"])}
    curve = value_of_script(mixed_report / "data/curve-000.js")
    assert curve["metric"] == "loss/total"
    (train,) = (
        one
        for one in curve["series"]
        if one["run"] == numbers["tau0.5_width8_seed1"] and one["split"] == "train"
    )
    lines = [
        json.loads(line)
        for line in (mixed_sweep / "runs/tau0.5_width8_seed1/metrics.jsonl")
        .read_text()
        .splitlines()
    ]
    logged = [line for line in lines if line["split"] == "train"]
    assert data["grids"][train["grid"]] == [line["step"] for line in logged]
    assert train["y"] == pytest.approx([line["loss/total"] for line in logged], rel=1e-4)
    groups = {run["name"]: run["group"] for run in data["runs"]}
    assert groups["tau0.5_width8_seed0"] == groups["tau0.5_width8_seed1"]
    assert data["groups"][groups["tau0.5_width8_seed0"]] == "width 8, tau 0.5"


def test_the_table_of_everything_is_there(mixed_report: Path) -> None:
    with open(mixed_report / "table.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"test", "val"}
    assert len(rows) == 2 * 12


def test_names_are_escaped(tmp_path: Path) -> None:
    run = write_run(tmp_path / "<b>&run")
    write_log(run, 12)
    write_json(run / "error.json", {"kind": "crash", "message": "</script><i>"})
    out = tmp_path / "report"
    assert call(PROGRAM, str(run), f"out={out}", "title=<u>").code == 0
    text = (out / "index.html").read_text()
    assert "&lt;b&gt;&amp;run" in text
    assert "<u>" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;&amp;run" in (out / "run-0000.html").read_text()


@pytest.mark.parametrize("kind", ["empty", "begun", "running", "one line"])
def test_runs_that_have_hardly_begun(kind: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if kind == "empty":
        run.mkdir()
    else:
        write_run(run)
    if kind == "running":
        write_log(run, 5)
        heartbeat = {"time": 1e12, "host": "elsewhere", "step": 50, "num_steps": 200}
        write_json(run / "heartbeat.json", heartbeat)
    if kind == "one line":
        write_log(run, 1)
    out = tmp_path / "report"
    outcome = call(PROGRAM, str(run), f"out={out}")
    assert (outcome.code, outcome.err) == (0, "")
    text = text_of(out / "index.html")
    assert "No run is finished yet" in text
    if kind == "running":
        assert "▶ running" in text
        assert table_of(out / "index.html", "Latest validation")[1][:3] == [
            "run",
            "▶ running",
            "50",
        ]


def test_several_datasets_have_a_best_run_each(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        run = write_run(tmp_path / name)
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "data": f"/data/of_{name}"}))
        write_log(run, 20)
        finish(run, 200, 0.1 + number, 20.0, dataset=name * 64)
    headline = make_headline(gather(find_runs([tmp_path])), None, None)
    assert [record.name for record in headline.best] == ["a", "b"]
    assert [row.settings["dataset"] for row in headline.rows] == ["of_a", "of_b"]


def test_probes_are_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    finish(run, 200, 0.1, 20.0)
    kind = {"labels": "upright", "classifier": "linear", "num_train": 9}
    rows = [
        {**kind, "feature": name, "fraction": fraction, "accuracy": {"mean": fraction / 2}}
        for name in ("z", "z_v")
        for fraction in (0.1, 1.0)
    ]
    (run / "classification").mkdir()
    write_json(run / "classification/step_00000200.json", {"summary": rows})
    call(PROGRAM, str(run), f"out={tmp_path / 'report'}")
    rows = table_of(tmp_path / "report/index.html", "Accuracy in percent")
    assert rows == [["feature", "linear, upright labels"], ["z", "50.00"], ["z_v", "50.00"]]


# Pictures


def test_pictures_are_copied_until_they_are_too_many(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        run = write_run(tmp_path / name)
        (run / "orbits.png").write_bytes(b"x" * 100)
        (run / "pictures").mkdir()
        (run / "pictures/mine_own.png").write_bytes(b"x" * 100)
        (run / "pictures/.draft.tmp.png").write_bytes(b"x")
    records = gather(find_runs([tmp_path])).records
    chosen, num_left_out = choose_galleries(records, max_bytes=450)
    assert [gallery.record.name for gallery in chosen] == ["a", "b"]
    assert num_left_out == 1
    pictures = find_gallery(records[0], with_frames=True).pictures
    assert [picture.title for picture in pictures] == ["Orbits", "Mine own"]


def test_what_a_sweep_chose_stands_for_the_keys_it_set(tmp_path: Path) -> None:
    """A choice of `control` sets several keys; its name tells a reader more than they do."""
    plan = {}
    for choice, words, loss in (("learned_mask", [], 0.1), ("all_variant", ALL_VARIANT, 0.2)):
        for seed in range(2):
            path = write_run(tmp_path / f"runs/{choice}{seed}", *words, f"seed={seed}")
            finish(path, 10, loss, 20.0)
            plan[path.name] = {"control": choice, "seed": seed}
    write_json(tmp_path / "plan.json", {"runs": plan})
    gathered = gather(find_runs([tmp_path]))
    assert gathered.keys == ("control",)
    rows = make_headline(gathered, None, None).rows
    found = [(row.settings["control"], row.cells["loss/total"].num_seeds) for row in rows]
    assert found == [("learned_mask", 2), ("all_variant", 2)]

    # A key that somebody changed beside the plan is not passed over.
    finish(write_run(tmp_path / "runs/other", "task.tau=0.3", "seed=0"), 10, 0.5, 20.0)
    write_json(tmp_path / "plan.json", {"runs": plan | {"other": {"control": "learned_mask"}}})
    assert "task.tau" in gather(find_runs([tmp_path])).keys
