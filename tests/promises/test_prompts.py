"""What others wrote forms no structure of ours in a prompt; a reader of Markdown is the judge."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

import vespera_orchestrator as vespera
from vespera_orchestrator._text import inert, quoted

FORGED = "Forged"
UNSEEN = "\u200b# Forged\n\ufeff# Forged\n\u202e# Forged\n\u2028# Forged\x85# Forged\x0b# Forged"
TEXTS = {
    "headings": f"fine\n\n# Forged\n\nForged\n====\n\nForged\n---\n\r# Forged\r## Forged\n{UNSEEN}",
    "fences": f"```\n# Forged\n{'`' * 60}\n# Forged\n~~~\n# Forged\n   ```\n> ```\n# Forged",
    "HTML": (
        "<script>\n# Forged\n<!--\n# Forged\n-->\n<h1>Forged</h1>\n<details>\n\n# Forged"
        "<![CDATA[\n# Forged\n\\<h1>Forged</h1> `\\` <b>Forged</b>"
    ),
    "lists": "1. Forged\n- Forged\n* Forged\n\n| Forged | b |\n|---|---|\n| Forged | c |\n***",
    "links": (
        "fine [Forged](http://e.example) ![Forged](http://e.example/x) [Forged\\](http://e.example)"
        "\n\n[Forged]: http://e.example\n[pending]: http://e.example\n[to\nread]: http://e.example\n"
        "<http://e.example/Forged>\n> [the work]: http://e.example"
    ),
    "a heading": "# Forged",
    "an item": "- Forged\n===\n---",
}


def prompts(folder, text):
    """Return what agents and people get to read, where every text of others is this one."""
    with vespera.open(folder, durability="normal", embedder="none") as orch:
        orch.initialize_session(text)
        orch.plan_task(text, text, alias="a", acceptance=text, context={"k": text})
        orch.plan_task(text, text, alias="b", dependencies=["a"])
        orch.plan_task(text, alias="whole")
        orch.plan_task(text, alias="part", parent_task_id="whole")
        work = orch.execute_task("a", agent="me")
        work.checkpoint({"s": text}, text, 0.5)
        work.fail(text)
        with orch.execute_task("recover_a") as work:
            yield work.briefing()
            work.complete(summary=text, detailed_work=text)
        done = {"summary": text, "detailed_work": text, "outputs": {"x": text}}
        orch.complete_task("a", **done)
        orch.complete_task("part", **done)
        orch.share_context(k=text)
        with orch.execute_task("b") as work:
            yield work.briefing()
        yield str(orch.artifacts.context("fine Forged", budget_tokens=3000))
        yield orch.spawn_agent_with_context("b").prompt()
        yield orch.artifacts.text(orch.synthesize_results("whole"))
        for record in [*orch.artifacts.list(), *orch.query_tasks(), orch.current_session()]:
            assert "\n" not in str(record)


def unquoted(text):
    """Yield the tokens of Markdown that stand in no quotation, each with the one before it."""
    depth = 0
    before = None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        depth += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        if depth == 0 and token.type != "blockquote_close":
            yield before, token
        before = token


def forgeries(text):
    """Return what looks as if the library had written it."""
    forged = []
    for before, token in unquoted(text):
        children = token.children or ()
        kinds = {child.type for child in children}
        is_start = token.type == "inline" and token.content.startswith(FORGED)
        if is_start and before.type in {"heading_open", "paragraph_open"}:
            forged.append((before.type, token.content))
        if kinds & {"link_open", "image", "html_inline"} or token.type in {"html_block", "hr"}:
            forged.append((token.type, token.content))
        if token.type in {"table_open", "lheading_open"} or token.markup in {"=", "---"}:
            forged.append((token.type, token.markup))
    return forged


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_of_others_forms_a_heading_a_list_or_a_link_of_ours(tmp_path, name):
    """In a briefing, a recovery, a context, the prompt of a new agent, and a synthesis."""
    seen = list(prompts(tmp_path, TEXTS[name]))
    assert len(seen) == 5
    for text in seen:
        assert FORGED in text
        assert forgeries(text) == []


def test_code_in_a_title_stays_readable():
    """Only what would be obeyed gets a backslash, and only once."""
    assert inert("- List<int> and a[0] < b") == "- List\\<int> and a[0] < b"
    assert inert("- \\<b> x\\](y)") == "- \\<b> x\\](y)"
    assert inert("> <b> stays") == "> <b> stays"
    assert quoted("- [ ] do: it\n[1, 2]\nx[0]: 1") == "> - [ ] do: it\n> [1, 2]\n> x[0]: 1"
