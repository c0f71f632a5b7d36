"""Paths for artifacts: safe on every system, each different, always inside."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from support.records import HOSTILE_TITLES, artifact
from vespera_orchestrator.artifacts.file_tree import arrange, safe_name

FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\ud800-\udfff]')


@given(st.text(max_size=300) | st.sampled_from(HOSTILE_TITLES))
@settings(max_examples=300)
def test_every_text_becomes_a_name_that_every_system_takes(text):
    """A name is one visible component of at most 80 bytes, and has no special meaning anywhere."""
    name = safe_name(text)
    assert 0 < len(name.encode()) <= 81
    assert not FORBIDDEN.search(name)
    assert name[0] not in ".-~ "
    assert name[-1] not in ". "
    assert name.partition(".")[0].casefold() not in {"con", "nul", "com1"}
    assert Path(name).name == name


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    *HOSTILE_TITLES,
                    "Plan",
                    "plan",
                    "PLAN",
                    "src/a",
                    "src",
                    "Src/A",
                    "a/b/c/d/e/f/g/h/i/j",
                ]
            )
            | st.text(max_size=20),
            st.sampled_from(["general", "file"]),
            st.sampled_from(["s_0", "s_1"]),
            st.sampled_from([None, "t_0", "t_1"]),
            st.sampled_from(["text/markdown", "image/png", "application/octet-stream"]),
        ),
        max_size=40,
    )
)
@settings(max_examples=150)
def test_every_artifact_has_a_place_of_its_own(records):
    """Paths differ even if letter case is ignored, never clash with folders, and stay inside."""
    artifacts = [
        artifact(
            id=f"a_{n:012}",
            title=title,
            kind=kind,
            session_id=session,
            task_id=task,
            media_type=media,
        )
        for n, (title, kind, session, task, media) in enumerate(records)
    ]
    names = {"s_0": "Same goal", "s_1": "same GOAL"}, {"t_0": "alias", "t_1": "ALIAS"}
    places = arrange(artifacts, *names)
    assert places == arrange(artifacts, *names)
    assert sorted(artifact.id for artifact in places.values()) == [
        artifact.id for artifact in artifacts
    ]
    folded = [place.casefold() for place in places]
    assert len(set(folded)) == len(folded)
    folders = {
        "/".join(place.split("/")[:n]) for place in folded for n in range(1, place.count("/") + 1)
    }
    assert not folders & set(folded)
    for place in places:
        assert not {"", ".", ".."} & set(place.split("/"))
        assert max(len(part.encode()) for part in place.split("/")) < 120
