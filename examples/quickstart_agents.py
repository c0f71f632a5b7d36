"""The agents of the quickstart. Each runs in its own process: ``quickstart_agents.py TASK_ID``.

They share the session, which they inherit through the environment, and each other's artifacts.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import vespera_orchestrator as vespera

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMMENT = {
    ".py": "#",
    ".sh": "#",
    ".toml": "#",
    ".yaml": "#",
    ".yml": "#",
    ".rb": "#",
    ".js": "//",
    ".ts": "//",
    ".go": "//",
    ".rs": "//",
}
COMMENT |= {
    ".c": "//",
    ".h": "//",
    ".cpp": "//",
    ".java": "//",
    ".kt": "//",
    ".swift": "//",
    ".lua": "--",
    ".sql": "--",
}
LICENCES = {
    "MIT": r"\bMIT License\b|Permission is hereby granted, free of charge",
    "Apache-2.0": r"Apache License\s+Version 2\.0",
    "GPL-3.0-or-later": r"GNU GENERAL PUBLIC LICENSE\s+Version 3",
    "BSD-3-Clause": r"Neither the name of",
    "MPL-2.0": r"Mozilla Public License Version 2\.0",
}
UNKNOWN = "unknown"
Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|/|<")
"""The start of a link that is not relative."""
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)")
STEPS = 10
LEASE_S = 3.0


def tracked(root: Path) -> list[str]:
    command = ["git", "-C", str(root), "ls-files", "-z"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    names = []
    for raw_name in output.split(b"\0"):
        name = os.fsdecode(raw_name)
        path = root / name
        if name and path.is_file() and not path.is_symlink():
            names.append(name)
    return names


def text_of(path: Path) -> str | None:
    raw = path.read_bytes()
    if b"\0" in raw[:8192]:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def lines_of(path: Path) -> list[str]:
    return (text_of(path) or "").splitlines()


def licence_of(root: Path) -> str:
    candidates = [*sorted(root.glob("LICEN[SC]E*")), *sorted(root.glob("COPYING*"))]
    for path in candidates:
        if not path.is_file():
            continue
        start = (text_of(path) or "")[:4000]
        for name, pattern in LICENCES.items():
            if re.search(pattern, start):
                return name
    return UNKNOWN


def is_labelled(text: str) -> bool:
    first_lines = text.splitlines()[:10]
    return any("SPDX-License-Identifier:" in line for line in first_lines)


# --- the tasks ----------------------------------------------------------------


def inventory(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Count files and lines by kind, and find out what the licence is."""
    root = orch.project
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    unlabelled = 0
    for name in tracked(root):
        kind = Path(name).suffix or "(none)"
        text = text_of(root / name)
        files[kind] += 1
        if text is not None:
            lines[kind] += text.count("\n")
        unlabelled += text is not None and kind in COMMENT and not is_labelled(text)
    licence = licence_of(root)
    page = [
        "# Inventory\n",
        f"Licence: {licence}. Sources without a licence label: {unlabelled}.\n",
        "| kind | files | lines |",
        "| --- | --- | --- |",
    ]
    for kind, number in files.most_common():
        page.append(f"| {kind} | {number} | {lines[kind]} |")
    work.complete(
        summary=f"{files.total()} files, {lines.total()} lines, licence {licence}",
        detailed_work=text_from(page),
        outputs={
            "files": files.total(),
            "lines": lines.total(),
            "licence": licence,
            "unlabelled": unlabelled,
        },
    )


def audit_docstrings(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Find public functions and classes without docstring or annotations."""
    gaps: list[str] = []
    unreadable: list[str] = []
    total = 0
    for name in tracked(orch.project):
        if not name.endswith(".py"):
            continue
        try:
            tree = ast.parse(text_of(orch.project / name) or "")
        except (SyntaxError, ValueError):
            unreadable.append(f"- `{one_line(name)}` cannot be parsed")
            continue
        for node in public_definitions(tree):
            total += 1
            missing = " and no ".join(missing_parts(node))
            if missing:
                gaps.append(f"- `{one_line(name)}:{node.lineno}` {node.name}: no {missing}")
    page = [
        "# Public functions and classes without docstring or return type\n",
        f"{total} were checked.\n",
        *gaps,
        *unreadable,
    ]
    work.complete(
        summary=f"{len(gaps)} of {total} public definitions lack a docstring or a return type",
        detailed_work=text_from(page),
        outputs={"total": total, "lacking": len(gaps)},
    )


def public_definitions(tree: ast.AST) -> Iterator[Definition]:
    for node in ast.walk(tree):
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def missing_parts(node: Definition) -> list[str]:
    missing = []
    if not ast.get_docstring(node):
        missing.append("docstring")
    if not isinstance(node, ast.ClassDef) and node.returns is None:
        missing.append("return type")
    return missing


def broken_links(root: Path) -> tuple[int, list[tuple[str, int, str]]]:
    """Return how many documents there are, and the file, line and target of each broken link."""
    documents = [name for name in tracked(root) if name.endswith(".md")]
    broken = []
    for name in documents:
        path = root / name
        links = links_of(path)
        broken += [(name, *link) for link in links if not leads_somewhere(path, link[1])]
    return len(documents), broken


def links_of(document: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the target of each link."""
    for number, line in enumerate(lines_of(document), 1):
        for target in LINK.findall(line):
            yield number, target


def leads_somewhere(document: Path, target: str) -> bool:
    path, _, _ = target.partition("#")
    if not path or ABSOLUTE.match(path):
        return True
    return (document.parent / path).exists()


def audit_links(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Follow every relative link of the documentation."""
    documents, broken = broken_links(orch.project)
    page = ["# Links of the documentation\n", f"{documents} documents were read.\n"]
    for name, number, target in broken:
        page.append(f"- `{name}:{number}` leads to `{target}`, which does not exist")
    if not broken:
        page.append("Every relative link leads somewhere.")
    work.complete(
        summary=f"{len(broken)} broken links in {documents} documents",
        detailed_work=text_from(page),
        outputs={
            "documents": documents,
            "broken": len(broken),
            "places": [list(place) for place in broken[:500]],
        },
    )


def label_sources(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Label each source with its licence, and map it in CODEMAP.md.

    Saves a checkpoint on the way, and is killed half way the first time.
    """
    assert work.path is not None
    licence = orch.get_task("inventory").outputs["licence"]
    names = mappable(work.path)
    state = work.resumed_from.state if work.resumed_from else {"next": 0, "digests": {}}
    resumed_at = state["next"]
    digests = dict(state["digests"])
    is_intact = resumed_at > 0 and are_edits_intact(work.path, resumed_at, digests)
    kill_at = float(os.environ.get("QUICKSTART_KILL_AT", "2")) * len(names)
    step = max(1, len(names) // STEPS)
    for number in range(resumed_at, len(names)):
        source = work.path / names[number]
        if label(source, licence):
            digests[names[number]] = digest_of(source)
        write_map(work.path, names[: number + 1])
        if number >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count = number + 1
        if count % step == 0:
            note = f"{count} of {len(names)} files"
            work.checkpoint({"next": count, "digests": digests}, note, count / len(names))
    if kill_at <= len(names):  # so few files that "half way" was not reached in the loop
        os.kill(os.getpid(), signal.SIGKILL)
    labels = f"{len(digests)} sources labelled {licence}"
    if licence == UNKNOWN:
        labels = "no labels, as the licence is unknown"
    work.complete(
        summary=f"{labels}; {len(names)} files mapped",
        detailed_work=labels_page(licence, digests),
        outputs={
            "labelled": len(digests),
            "resumed_at": resumed_at,
            "edits_intact": is_intact,
        },
        file_paths=["CODEMAP.md"],
    )


def labels_page(licence: str, names: Iterable[str]) -> str:
    page = [
        "# Labelled sources\n",
        f"Each of these now says `SPDX-License-Identifier: {licence}`.\n",
    ]
    page += [f"- `{one_line(name)}`" for name in sorted(names)]
    return text_from(page)


def mappable(root: Path) -> list[str]:
    """Return the files with text, apart from the map itself."""
    names = [name for name in tracked(root) if name != "CODEMAP.md"]
    return [name for name in names if text_of(root / name) is not None]


def are_edits_intact(root: Path, count: int, digests: dict[str, str]) -> bool:
    """Tell whether the files are as the killed process left them."""
    if mapped(root) < count:
        return False
    return all(digest_of(root / name) == digest for name, digest in digests.items())


def label(path: Path, licence: str) -> bool:
    sign = COMMENT.get(path.suffix)
    text = text_of(path)
    if sign is None or text is None or licence == UNKNOWN or is_labelled(text):
        return False
    lines = text.splitlines(keepends=True)
    at = 1 if lines and lines[0].startswith("#!") else 0
    lines.insert(at, f"{sign} SPDX-License-Identifier: {licence}\n")
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write("".join(lines))
    return True


def write_map(root: Path, names: list[str]) -> None:
    page = ["# Code map\n", "| file | lines |", "| --- | --- |"]
    for name in names:
        text = text_of(root / name) or ""
        number = text.count("\n")
        page.append(f"| {one_line(name)} | {number} |")
    (root / "CODEMAP.md").write_text(text_from(page), "utf-8")


def mapped(root: Path) -> int:
    """Return how many files the map lists."""
    path = root / "CODEMAP.md"
    if not path.exists():
        return 0
    rows = (text_of(path) or "").count("\n| ")
    return rows - 2  # the head and the line below it


def one_line(name: str) -> str:
    """Return a file's name on one line, whatever bytes it holds."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\n", "\\n").replace("|", "\\|")


def text_from(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def digest_of(path: Path) -> str:
    if not path.exists():
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def index_docs(orch: vespera.Orchestrator, work: vespera.Work) -> None:  # noqa: ARG001 - all agents are called alike
    """Write an index of the documentation: every document with its title."""
    assert work.path is not None
    rows = []
    for name in tracked(work.path):
        if name.endswith(".md"):
            title = title_of(work.path / name) or name
            rows.append(f"- [{title}](<{one_line(name)}>)")
    (work.path / "DOCUMENTS.md").write_text(text_from(["# Documents\n", *rows]), "utf-8")
    work.complete(
        summary=f"{len(rows)} documents indexed",
        detailed_work=text_from(["# Index of the documentation\n", *rows]),
        file_paths=["DOCUMENTS.md"],
    )


def title_of(document: Path) -> str:
    for line in lines_of(document):
        if line.startswith("#"):
            return line.lstrip("# ").strip()
    return ""


def mark_broken_links(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Put a remark behind every line in which the audit found a broken link."""
    assert work.path is not None
    broken = orch.get_task("audit_links").outputs["places"]
    numbers: dict[str, set[int]] = {}
    for name, number, _ in broken:
        numbers.setdefault(name, set()).add(number)
    for name in sorted(numbers):
        lines = lines_of(work.path / name)
        for number in numbers[name]:
            lines[number - 1] += " <!-- broken link -->"
        (work.path / name).write_text(text_from(lines), "utf-8")
    page = [f"- {name}:{number} {target}" for name, number, target in broken]
    work.complete(
        summary=f"{len(broken)} links marked",
        detailed_work=text_from(page),
    )


def report(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Sum up what the earlier agents did.

    Their artifacts reach this one as its briefing; it refers to them and copies nothing.
    """
    briefing = work.briefing(budget_tokens=3000)
    words = len(briefing.split())
    page = ["# Report\n"]
    tasks = orch.query_tasks(parent_task_id="health_check", status="completed")
    for task in tasks:
        records = ", ".join(artifact.id for artifact in orch.artifacts.list(task=task))
        page.append(f"- **{task.title}**: {task.summary} ({records})")
    work.complete(
        summary=f"{len(tasks)} results summed up from a briefing of {words} words",
        detailed_work=text_from(page),
        outputs={"results": len(tasks)},
    )


WORKERS = {
    "inventory": (inventory, False),
    "audit_docstrings": (audit_docstrings, False),
    "audit_links": (audit_links, False),
    "label_sources": (label_sources, True),
    "index_docs": (index_docs, True),
    "mark_broken_links": (mark_broken_links, True),
    "report": (report, False),
}


def main() -> None:
    with vespera.open() as orch:
        task = orch.get_task(sys.argv[1])
        run, in_worktree = WORKERS[task.alias]
        lease_s = LEASE_S if task.alias == "label_sources" else 300
        with orch.execute_task(task, worktree=in_worktree, lease_s=lease_s) as work:
            run(orch, work)


if __name__ == "__main__":
    main()
