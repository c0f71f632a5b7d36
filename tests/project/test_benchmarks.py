"""The benchmarks run; how fast they are is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys

from support import ROOT

RUN = ROOT / "benchmarks" / "run.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks as somebody at a terminal does."""
    return subprocess.run(
        [sys.executable, str(RUN), *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_quick_run_gives_a_row_with_a_ratio_for_each_subject_asked_for(tmp_path):
    """Only what was chosen is measured, as a table for people and as rows for programs."""
    done = run("--quick", "graph", "content", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for subject in ("graph", "content"):
        head = lines.index(f"### {subject}") + 2
        assert lines[head].startswith("| what")
        assert lines[head + 2].split("|")[5].strip().endswith("]"), lines[head + 2]
    rows = json.loads((tmp_path / "rows.json").read_text("utf-8"))["rows"]
    assert {row["subject"] for row in rows if row["ratio"] > 0} == {"graph", "content"}


def test_every_subject_loads():
    """Whatever was renamed in the library or in another benchmark: each has rows to give."""
    code = (
        "import importlib, run\n"
        "for module, _ in run.SUBJECTS.values(): importlib.import_module(module).rows"
    )
    command = [sys.executable, "-c", code]
    loading = subprocess.run(command, cwd=RUN.parent, capture_output=True, text=True, check=False)
    assert loading.returncode == 0, loading.stderr


def test_landing_and_forecast_are_measured(tmp_path):
    """They work on records that they put into the store themselves, which checks such records."""
    code = (
        "import sys, worktrees; from measure import Scale; from pathlib import Path\n"
        "folder = Path(sys.argv[1]); files = worktrees.make_repository(folder, 70)\n"
        "scale = Scale(quick=True, large=False, folder=folder)\n"
        "print(len(worktrees.merging(folder, files, '70 files', scale)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=RUN.parent, capture_output=True, text=True, check=False)
    assert done.stdout == "4\n", done.stderr


def test_help_and_mistakes_name_the_subjects():
    """Whoever asks for help, or for a subject that is none, is told which there are."""
    for words, code in ((["--help"], 0), (["nothing"], 2)):
        done = run(*words)
        assert done.returncode == code
        assert all(
            name in done.stdout + done.stderr
            for name in ("store", "contention", "import", "documents")
        )
