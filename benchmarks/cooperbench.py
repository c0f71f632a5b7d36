"""Forecast and land the feature pairs of CooperBench, with git as the judge.

CooperBench (https://github.com/cooperbench/CooperBench, MIT) has features for public repositories:
two agents build two of them at once. Its ``gold_conflict_report.json`` says whether git
merges each pair. Here each pair is rebuilt and worked on as two tasks:

* the forecast is compared with ``git merge-tree``, and with the report;
* both are completed. A clean pair must land with exactly git's tree. Of a pair in conflict the
  first must land, and the second be blocked with one recovery, with both sides kept; the conflict
  is then resolved, and the rest lands.

    python benchmarks/cooperbench.py --dataset CooperBench.git --clones FOLDER [--only TASK …]

*dataset* is a clone of CooperBench. In *clones* there is a clone of each repository, in a folder
``<owner>+<name>/repo`` or ``<name>``. Where a repository is too large to clone, ``--trees`` names a
folder with the files of single tasks, each in a folder of the task's name, such as
``task17070/llama-index-core/…`` out of a published package. They count only if each file that a
patch changes is, byte for byte, the one that the patch was made from. Tasks that have neither are
counted as not rebuilt. Each task adds a line of JSON to the output.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import attrs

import vespera_orchestrator as vespera

_TEST_FILES = ("/test_", "/tests/", "_test.py", "/test/", "tests.py")
"""The report leaves these out of the patches, too."""
_MARKERS = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")


def git(folder: Path, *words: str, text: str | None = None, check: bool = True) -> str:
    """Run git and return what it prints."""
    return run_git(folder, *words, text=text, check=check).stdout.rstrip("\n")


def run_git(
    folder: Path, *words: str, text: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run git to its end."""
    run = subprocess.run(
        ["git", *words],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    if check and run.returncode:
        raise SystemExit(f"git {' '.join(words)}: {run.stderr}")
    return run


# --- the dataset ------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Case:
    """One task of the dataset: a commit, and the features that can be built on it."""

    name: str
    """``<repository>/<task>``."""
    url: str
    base: str
    patches: dict[int, str]


def read_cases(dataset: Path) -> list[Case]:
    """Read all tasks from a clone, which may be bare."""
    names = git(dataset, "ls-tree", "-r", "--name-only", "HEAD", "dataset").splitlines()
    folders = sorted({name.rpartition("/")[0] for name in names if name.endswith("/Dockerfile")})
    return [_read_case(dataset, folder, names) for folder in folders]


def _read_case(dataset: Path, folder: str, names: list[str]) -> Case:
    text = show(dataset, f"{folder}/Dockerfile") + show(dataset, f"{folder}/setup.sh")
    found_url = re.search(r"https://github\.com/([\w.-]+/[\w-]+)", text)
    found_commit = re.search(r"\b[0-9a-f]{40}\b", text)
    if found_url is None or found_commit is None:
        raise SystemExit(f"{folder} names no repository")
    pattern = re.compile(re.escape(folder) + r"/feature(\d+)/feature\.patch")
    features = [match for match in map(pattern.fullmatch, names) if match]
    patches = {int(match[1]): _without_tests(show(dataset, match[0])) for match in features}
    name = folder.removeprefix("dataset/")
    return Case(name=name, url=found_url[1], base=found_commit[0], patches=patches)


def show(dataset: Path, path: str) -> str:
    """Return a file of the dataset, as it is."""
    return run_git(dataset, "show", f"HEAD:{path}").stdout


def read_report(dataset: Path) -> dict[tuple[str, int, int], bool]:
    """Return of each pair whether the report calls it a conflict."""
    results = json.loads(show(dataset, "dataset/gold_conflict_report.json"))["all_results"]
    return {
        (f"{each['repo']}/task{each['task_id']}", each["f1"], each["f2"]): each["has_conflict"]
        for each in results
    }


def _without_tests(patch: str) -> str:
    kept: list[str] = []
    is_test = False
    for line in patch.split("\n"):
        if line.startswith("diff --git"):
            is_test = any(part in line for part in _TEST_FILES)
        if not is_test:
            kept.append(line)
    text = "\n".join(kept)
    return text if not text or text.endswith("\n") else f"{text}\n"


# --- rebuilding -------------------------------------------------------------


def find_clone(clones: Path, case: Case) -> Path | None:
    """Return the clone of the task's repository, if it has the first commit."""
    owner, _, name = case.url.partition("/")
    for place in (clones / f"{owner}+{name}" / "repo", clones / name):
        if (
            place.exists()
            and not run_git(place, "cat-file", "-e", case.base, check=False).returncode
        ):
            return place
    return None


def find_tree(trees: Path | None, case: Case) -> Path | None:
    """Return the folder with the task's files, if the patches were made from these."""
    if trees is None:
        return None
    folder = trees / case.name.rpartition("/")[2]
    if not folder.is_dir():
        return None
    for path, blob in changed_blobs(case):
        file = folder / path
        if not file.is_file() or not git(folder, "hash-object", str(file)).startswith(blob):
            raise SystemExit(f"{file} is not the file {blob} that a patch was made from")
    return folder


def changed_blobs(case: Case) -> set[tuple[str, str]]:
    """Return each file that the patches change, with the name of its blob before that."""
    pattern = re.compile(r"^diff --git a/(\S+) .*\n(?:.*mode .*\n)*index (\w+)\.\.", re.MULTILINE)
    changes = {match.groups() for text in case.patches.values() for match in pattern.finditer(text)}
    return {(path, blob) for path, blob in changes if blob.strip("0")}


def commit_tree(folder: Path, room: Path) -> tuple[Path, str]:
    """Make a repository of the files in *folder*; return it, and its only commit."""
    origin = room / "origin"
    shutil.copytree(folder, origin)
    git(room, "init", "-q", str(origin))
    git(origin, "add", "-A", "-f")
    git(origin, "commit", "-qm", "base")
    return origin, git(origin, "rev-parse", "HEAD")


def base_with_what_is_there(project: Path, base: str) -> str:
    """Return *base*, or the same without files that the clone does not have.

    A clone may lack the largest files. No patch touches one of them.
    """
    lines = [line for line in git(project, "ls-tree", "-r", "-z", base).split("\0") if line]
    names = "".join(line.split()[2] + "\n" for line in lines)
    answers = git(project, "cat-file", "--batch-check", text=names).splitlines()
    kept = [
        line
        for line, answer in zip(lines, answers, strict=True)
        if not answer.endswith("missing") or line.startswith("160000")
    ]
    if len(kept) == len(lines):
        return base
    git(project, "read-tree", "--empty")
    git(project, "update-index", "-z", "--index-info", text="\0".join(kept) + "\0")
    tree = git(project, "write-tree", "--missing-ok")
    return git(project, "commit-tree", "-m", "base", tree)


def build_features(origin: Path, case: Case, room: Path) -> tuple[Path, dict[int, str]]:
    """Make a repository with the first commit on ``main``, and one commit for each feature."""
    project = room / "features"
    git(room, "clone", "-q", "--shared", "--no-checkout", str(origin), str(project))
    base = base_with_what_is_there(project, case.base)
    git(project, "checkout", "-q", "-f", "-B", "main", base)
    commits = {}
    for number, patch in sorted(case.patches.items()):
        git(project, "checkout", "-q", "-f", "--detach", base)
        for words in (("--ignore-whitespace",), ("--3way",)):
            if (
                not patch
                or not run_git(project, "apply", *words, text=patch, check=False).returncode
            ):
                break
        git(project, "add", "-A")
        git(project, "commit", "-qm", f"feature {number}", "--allow-empty")
        commits[number] = git(project, "rev-parse", "HEAD")
    git(project, "checkout", "-q", "main")
    return project, commits


def put_feature(folder: Path, base: str, feature: str) -> None:
    """Do in *folder* what the feature's author did."""
    words = ("diff", "--name-only", "-z", "--no-renames", base, feature)
    paths = [path for path in git(folder, *words).split("\0") if path]
    if paths:
        git(folder, "restore", "--worktree", f"--source={feature}", "--", *paths)


def merge_by_git(project: Path, one: str, two: str) -> tuple[bool, str]:
    """Return whether git merges *two* into *one*, and the tree."""
    run = run_git(project, "merge-tree", "--write-tree", one, two, check=False)
    return run.returncode == 0, run.stdout.split("\n", maxsplit=1)[0]


# --- working on a pair ------------------------------------------------------


@attrs.define(kw_only=True)
class Result:
    """What came of the pairs of one task."""

    task: str
    files: int
    pairs: int = 0
    clean: int = 0
    """Pairs that git merges."""
    conflicts: int = 0
    unlike_report: list[str] = attrs.Factory(list)
    """Pairs that git judges otherwise than the report says."""
    wrong: list[str] = attrs.Factory(list)
    """Pairs of which forecast or landing was not as it should be."""
    resolved: int = 0
    """Conflicts that were resolved through their recovery, and landed."""
    seconds: float = 0.0


def forecast_all(project: Path, base: str, commits: dict[int, str]) -> set[tuple[int, int]]:
    """Return the pairs that the forecast calls a conflict, with all features at work at once."""
    with vespera.open(project, durability="normal") as orch:
        orch.initialize_session("forecast")
        orch.plan_tasks([{"title": f"f{number}"} for number in commits])
        for number, commit in commits.items():
            work = orch.execute_task(f"f{number}", worktree=True, agent=f"a{number}")
            put_feature(work.path, base, commit)
            work.checkpoint({})
        clashes = orch.worktrees.forecast().clashes
    pairs = ((int(each.first[1:]), int(each.second[1:])) for each in clashes)
    return {(min(pair), max(pair)) for pair in pairs}


def land_pair(features: Path, base: str, one: str, two: str, room: Path) -> tuple[str, bool]:
    """Complete both as tasks; return what is wrong, if anything, and whether a conflict landed."""
    project = room / "pair"
    git(room, "clone", "-q", "--shared", "--no-checkout", str(features), str(project))
    git(project, "update-ref", "refs/heads/main", base)
    git(project, "symbolic-ref", "HEAD", "refs/heads/main")
    git(project, "read-tree", base)
    is_clean, merged = merge_by_git(project, one, two)
    trees = [git(project, "rev-parse", f"{each}^{{tree}}") for each in (one, two)]
    with vespera.open(project, durability="normal") as orch:
        orch.initialize_session("pair")
        orch.plan_tasks([{"title": "one"}, {"title": "two"}])
        works = [orch.execute_task(name, worktree=True, agent=name) for name in ("one", "two")]
        for work, feature in zip(works, (one, two), strict=True):
            put_feature(work.path, base, feature)
        first, second = (work.complete(summary="s", detailed_work="d") for work in works)
        landed = git(project, "rev-parse", "integration^{tree}")
        if first.status != "completed":
            return f"the first is {first.status}: {first.reason}", False
        if is_clean:
            return _judge_clean(second, landed, merged), False
        if landed != trees[0]:
            return "the first did not land as it was", False
        return _judge_conflict(orch, project, trees[1])


def _judge_clean(second: vespera.Task, landed: str, merged: str) -> str:
    if second.status != "completed":
        return f"clean, but the second is {second.status}: {second.reason}"
    return "" if landed == merged else f"landed {landed[:12]}, git has {merged[:12]}"


def _judge_conflict(
    orch: vespera.Orchestrator, project: Path, second_tree: str
) -> tuple[str, bool]:
    """Look at what a conflict left, resolve it, and land the rest."""
    if orch.get_task("two").status != "blocked":
        return f"a conflict, but the second is {orch.get_task('two').status}", False
    recoveries = orch.query_tasks(task_type="recovery")
    if len(recoveries) != 1:
        return f"{len(recoveries)} recoveries", False
    saved = git(project, "rev-parse", "refs/vespera/wip/two^{tree}")
    if saved != second_tree:
        return "the second's work is not saved as it was", False
    work = orch.execute_task(recoveries[0].id)
    if not work.conflicts:
        return "the recovery names no file in conflict", False
    for path in work.conflicts:
        _keep_both_sides(work.path / path)
    work.complete(summary="both kept", detailed_work="d")
    again = orch.execute_task("two")
    done = again.complete(summary="s", detailed_work="d")
    if done.status != "completed":
        return f"resolved, but the second is {done.status}: {done.reason}", False
    return "", True


def _keep_both_sides(file: Path) -> None:
    if not file.exists():
        return
    text = file.read_text("utf-8", "surrogateescape")
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(_MARKERS)]
    file.write_text("".join(lines), "utf-8", "surrogateescape")


@attrs.frozen(kw_only=True)
class Rebuilt:
    """One task of the dataset, with a commit for each feature."""

    base: str
    """What the features were built on."""
    project: Path
    commits: dict[int, str]
    clashes: set[tuple[int, int]]
    """What the forecast calls a conflict."""

    def add_pair(self, result: Result, pair: tuple[int, int], room: Path) -> bool:
        """Judge one pair, add that to *result*, and return whether git merges it."""
        one, two = (self.commits[number] for number in pair)
        is_clean, _ = merge_by_git(self.project, one, two)
        name = f"{pair[0]}+{pair[1]}"
        result.pairs += 1
        result.clean += is_clean
        result.conflicts += not is_clean
        if (pair in self.clashes) == is_clean:
            result.wrong.append(f"{name}: the forecast says otherwise than git")
        problem, is_resolved = land_pair(self.project, self.base, one, two, room)
        result.resolved += is_resolved
        if problem:
            result.wrong.append(f"{name}: {problem}")
        return is_clean


def run_case(
    source: Path, case: Case, report: dict[tuple[str, int, int], bool], *, is_tree: bool = False
) -> Result:
    """Rebuild, forecast and land all pairs of one task, from a clone or from a tree of files."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="cooperbench-") as temporary:
        room = Path(temporary).resolve()
        origin = source
        if is_tree:
            origin, commit = commit_tree(source, room)
            case = attrs.evolve(case, base=commit)
        project, commits = build_features(origin, case, room)
        base = git(project, "rev-parse", "main")
        files = git(project, "ls-tree", "-r", "--name-only", base).count("\n") + 1
        result = Result(task=case.name, files=files)
        clashes = forecast_all(project, base, commits)
        rebuilt = Rebuilt(base=base, project=project, commits=commits, clashes=clashes)
        for pair in combinations(sorted(commits), 2):
            place = room / "{}+{}".format(*pair)
            place.mkdir()
            is_clean = rebuilt.add_pair(result, pair, place)
            if report.get((case.name, *pair)) == is_clean:
                result.unlike_report.append("{}+{}".format(*pair))
            shutil.rmtree(place)
    result.seconds = round(time.perf_counter() - began, 1)
    return result


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--clones", type=Path, required=True)
    parser.add_argument("--trees", type=Path)
    parser.add_argument("--only", nargs="*", default=())
    arguments = parser.parse_args()
    report = read_report(arguments.dataset)
    missing = 0
    for case in read_cases(arguments.dataset):
        if arguments.only and case.name not in arguments.only:
            continue
        clone = find_clone(arguments.clones, case)
        source = clone or find_tree(arguments.trees, case)
        if source is None:
            missing += sum(1 for _ in combinations(case.patches, 2))
            continue
        result = run_case(source, case, report, is_tree=clone is None)
        print(json.dumps(attrs.asdict(result)), flush=True)
    print(f"{missing} pairs could not be rebuilt", file=sys.stderr)


if __name__ == "__main__":
    os.environ.update(
        GIT_AUTHOR_NAME="A",
        GIT_AUTHOR_EMAIL="a@example.org",
        GIT_COMMITTER_NAME="A",
        GIT_COMMITTER_EMAIL="a@example.org",
    )
    main()
