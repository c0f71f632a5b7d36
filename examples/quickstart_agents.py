"""The agents of the quickstart. Each runs in a process of its own and is told one task: ``quickstart_agents.py TASK_ID``.

What they share is the session, which they inherit through the environment, and each other's artifacts.
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

import vespera_orchestrator as vespera

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
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)[^)]*\)")
STEPS = 10
LEASE_S = 3.0


def tracked(root: Path) -> list[str]:
    out = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True
    ).stdout
    names = [os.fsdecode(name) for name in out.split(b"\0") if name]
    return [name for name in names if (root / name).is_file() and not (root / name).is_symlink()]


def text_of(path: Path) -> str | None:
    raw = path.read_bytes()
    if b"\0" in raw[:8192]:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def licence_of(root: Path) -> str:
    for path in sorted(root.glob("LICEN[SC]E*")) + sorted(root.glob("COPYING*")):
        text = (text_of(path) or "")[:4000] if path.is_file() else ""
        for name, pattern in LICENCES.items():
            if re.search(pattern, text):
                return name
    return UNKNOWN


def labelled(text: str) -> bool:
    return "SPDX-License-Identifier:" in "\n".join(text.splitlines()[:10])


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
        lines[kind] += text.count("\n") if text is not None else 0
        unlabelled += text is not None and kind in COMMENT and not labelled(text)
    table = "\n".join(
        f"| {kind} | {number} | {lines[kind]} |" for kind, number in files.most_common()
    )
    licence = licence_of(root)
    work.complete(
        summary=f"{files.total()} files, {lines.total()} lines, licence {licence}",
        detailed_work=f"# Inventory\n\nLicence: {licence}. Sources without a licence label: {unlabelled}.\n\n"
        f"| kind | files | lines |\n| --- | --- | --- |\n{table}\n",
        outputs={
            "files": files.total(),
            "lines": lines.total(),
            "licence": licence,
            "unlabelled": unlabelled,
        },
    )


def audit_docstrings(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Find public functions and classes without docstring or annotations."""
    found: list[str] = []
    unreadable: list[str] = []
    total = 0
    for name in tracked(orch.project):
        if not name.endswith(".py"):
            continue
        try:
            tree = ast.parse(text_of(orch.project / name) or "")
        except (SyntaxError, ValueError):
            unreadable.append(f"- `{shown(name)}` cannot be parsed")
            continue
        for node in ast.walk(tree):
            if isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            ) and not node.name.startswith("_"):
                total += 1
                lacks = [] if ast.get_docstring(node) else ["docstring"]
                if not isinstance(node, ast.ClassDef) and node.returns is None:
                    lacks.append("return type")
                if lacks:
                    found.append(
                        f"- `{shown(name)}:{node.lineno}` {node.name}: no {' and no '.join(lacks)}"
                    )
    work.complete(
        summary=f"{len(found)} of {total} public functions and classes lack a docstring or a return type",
        detailed_work=f"# Public functions and classes without docstring or return type\n\n{total} were looked at.\n\n"
        + "\n".join([*found, *unreadable])
        + "\n",
        outputs={"total": total, "lacking": len(found)},
    )


def broken_links(root: Path) -> tuple[int, list[tuple[str, int, str]]]:
    documents = [name for name in tracked(root) if name.endswith(".md")]
    broken = []
    for name in documents:
        for number, line in enumerate((text_of(root / name) or "").splitlines(), 1):
            for target in LINK.findall(line):
                path = target.split("#")[0]
                if (
                    path
                    and not re.match(r"[a-z][a-z0-9+.-]*:|/|<", path)
                    and not ((root / name).parent / path).exists()
                ):
                    broken.append((name, number, target))
    return len(documents), broken


def audit_links(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Follow every relative link of the documentation."""
    documents, broken = broken_links(orch.project)
    listed = "\n".join(
        f"- `{name}:{number}` leads to `{target}`, which is not there"
        for name, number, target in broken
    )
    listed = listed or "Every relative link leads somewhere."
    work.complete(
        summary=f"{len(broken)} broken links in {documents} documents",
        detailed_work=f"# Links of the documentation\n\n{documents} documents were read.\n\n{listed}\n",
        outputs={
            "documents": documents,
            "broken": len(broken),
            "places": [list(place) for place in broken[:500]],
        },
    )


def label_sources(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Label each source with its licence and map it in CODEMAP.md; checkpoint on the way; be killed half way, the first time."""
    assert work.path is not None
    licence = orch.get_task("inventory").outputs["licence"]
    names = [
        name
        for name in tracked(work.path)
        if name != "CODEMAP.md" and text_of(work.path / name) is not None
    ]
    state = work.resumed_from.state if work.resumed_from else {"next": 0, "digests": {}}
    resumed_at = state["next"]
    intact = all(digest_of(work.path / name) == digest for name, digest in state["digests"].items())
    intact = intact and mapped(work.path) >= resumed_at
    kill_at = float(os.environ.get("QUICKSTART_KILL_AT", "2")) * len(names)
    digests = dict(state["digests"])
    changed = list(digests)
    for number in range(resumed_at, len(names)):
        if label(work.path / names[number], licence):
            changed.append(names[number])
            digests[names[number]] = digest_of(work.path / names[number])
        write_map(work.path, names[: number + 1])
        if number >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if (number + 1) % max(1, len(names) // STEPS) == 0:
            work.checkpoint(
                {"next": number + 1, "digests": digests},
                f"{number + 1} of {len(names)} files",
                (number + 1) / len(names),
            )
    if kill_at <= len(names):  # so few files that "half way" was not reached in the loop
        os.kill(os.getpid(), signal.SIGKILL)
    listed = "\n".join(f"- `{shown(name)}`" for name in sorted(set(changed)))
    labels = (
        f"{len(set(changed))} sources labelled {licence}"
        if licence != UNKNOWN
        else "no labels, as the licence is unknown"
    )
    work.complete(
        summary=f"{labels}; {len(names)} files mapped",
        detailed_work=f"# Labelled sources\n\nEach of these now says `SPDX-License-Identifier: {licence}`.\n\n{listed or '(none)'}\n",
        outputs={
            "labelled": len(set(changed)),
            "resumed_at": resumed_at,
            "edits_intact": intact and resumed_at > 0,
        },
        file_paths=["CODEMAP.md"],
    )


def label(path: Path, licence: str) -> bool:
    sign = COMMENT.get(path.suffix)
    text = text_of(path)
    if sign is None or text is None or labelled(text) or licence == UNKNOWN:
        return False
    lines = text.splitlines(keepends=True)
    at = 1 if lines and lines[0].startswith("#!") else 0
    lines.insert(at, f"{sign} SPDX-License-Identifier: {licence}\n")
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write("".join(lines))
    return True


def write_map(root: Path, names: list[str]) -> None:
    rows = "\n".join(
        f"| {shown(name)} | {(text_of(root / name) or '').count(chr(10))} |" for name in names
    )
    (root / "CODEMAP.md").write_text(
        f"# Code map\n\n| file | lines |\n| --- | --- |\n{rows}\n", "utf-8"
    )


def shown(name: str) -> str:
    """Return a file's name on one line, whatever bytes it holds."""
    return (
        name.encode("utf-8", "backslashreplace")
        .decode("utf-8")
        .replace("\n", "\\n")
        .replace("|", "\\|")
    )


def mapped(root: Path) -> int:
    return (
        (text_of(root / "CODEMAP.md") or "").count("\n| ") - 2
        if (root / "CODEMAP.md").exists()
        else 0
    )


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def index_docs(orch: vespera.Orchestrator, work: vespera.Work) -> None:  # noqa: ARG001 - all agents are called alike
    """Write an index of the documentation: every document with its title."""
    assert work.path is not None
    rows = []
    for name in tracked(work.path):
        if name.endswith(".md"):
            title = next(
                (
                    line.lstrip("# ").strip()
                    for line in (text_of(work.path / name) or "").splitlines()
                    if line.startswith("#")
                ),
                name,
            )
            rows.append(f"- [{title}](<{shown(name)}>)")
    (work.path / "DOCUMENTS.md").write_text("# Documents\n\n" + "\n".join(rows) + "\n", "utf-8")
    work.complete(
        summary=f"{len(rows)} documents indexed",
        detailed_work="# Index of the documentation\n\n" + "\n".join(rows),
        file_paths=["DOCUMENTS.md"],
    )


def mark_broken_links(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Put a remark behind every line in which the audit found a broken link."""
    assert work.path is not None
    broken = orch.get_task("audit_links").outputs["places"]
    for name in sorted({name for name, _, _ in broken}):
        lines = (text_of(work.path / name) or "").splitlines()
        for number in {number for at, number, _ in broken if at == name}:
            lines[number - 1] += " <!-- broken link -->"
        (work.path / name).write_text("\n".join(lines) + "\n", "utf-8")
    work.complete(
        summary=f"{len(broken)} links marked",
        detailed_work="\n".join(f"- {name}:{line} {target}" for name, line, target in broken),
    )


def report(orch: vespera.Orchestrator, work: vespera.Work) -> None:
    """Sum up what the earlier agents left. Their artifacts reach this one as its briefing; it refers to them and copies nothing."""
    briefing = work.briefing(budget_tokens=3000)
    tasks = [
        task
        for task in orch.query_tasks(parent_task_id="health_check")
        if task.status == "completed"
    ]
    listed = []
    for task in tasks:
        records = ", ".join(artifact.id for artifact in orch.artifacts.list(task=task))
        listed.append(f"- **{task.title}**: {task.summary} ({records})")
    work.complete(
        summary=f"{len(tasks)} results summed up from a briefing of {len(briefing.split())} words",
        detailed_work="# Report\n\n" + "\n".join(listed) + "\n",
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
        do, in_worktree = WORKERS[task.alias]
        with orch.execute_task(
            task, worktree=in_worktree, lease_s=LEASE_S if task.alias == "label_sources" else 300
        ) as work:
            do(orch, work)


if __name__ == "__main__":
    main()
