"""What a report leaves open, and how its tests ended, in eight languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.progress.open_points import open_points, words_on_tests

HEADINGS = {
    "English": (
        "Open",
        "3. Known gaps",
        "Open questions and risks",
        "What's missing?",
        "Next steps",
    ),
    "German": ("Offen", "Offene Punkte", "Noch zu tun", "Bekannte Einschränkungen", "Was fehlt"),
    "French": ("À faire", "Points en suspens", "Ce qui manque", "Limites connues", "Lacunes"),
    "Spanish": ("Pendiente", "Preguntas abiertas", "Lo que falta", "Próximos pasos", "Límites"),
    "Portuguese": ("Em aberto", "Questões em aberto", "O que falta", "Pendências", "A fazer"),
    "Russian": ("Открытые вопросы", "Что осталось", "Нерешённые вопросы", "Пробелы", "Осталось"),
    "Japanese": ("未解決の問題", "残課題", "既知の問題", "課題", "今後の課題について"),
    "Chinese": ("未解决的问题", "待办事项", "已知问题", "下一步", "不足"),
}
OTHER_HEADINGS = (
    "Open source licences",
    "The gaps between the planks",
    "Opening",
    "Offenbach",
    "制限速度の計算",
    "Results",
    "Limits of the sequence",
)


@pytest.mark.parametrize("language", HEADINGS)
def test_headings_of_eight_languages(language):
    """As a heading, underlined, as a label, and in bold letters on a line of its own."""
    for title in HEADINGS[language]:
        for top in (f"## {title}", f"{title}\n---", f"{title}:", f"**{title}**", f"**{title}:**"):
            report = f"# Kettle\n\nIt boils.\n\n{top}\n\n- the lid\n- the\n  spout\n\nThe end.\n"
            assert open_points(report) == ["the lid", "the spout"], top


@pytest.mark.parametrize("heading", OTHER_HEADINGS)
def test_other_headings_open_nothing(heading):
    """A word within a longer heading may mean anything."""
    assert open_points(f"## {heading}\n\n- the lid\n") == []


@pytest.mark.parametrize(
    ("report", "points"),
    [
        ("- [x] boil\n- [ ] pour\n  - [ ] slowly\n", ["pour", "slowly"]),
        ("## Open\n\n- [x] boil\n- [ ] pour\n- stir\n", ["pour", "stir"]),
        ("TODO: grind the lid\n", ["grind the lid"]),
        ("It boils. FIXME(ada): it drips.\n", ["it drips."]),
        ("* TODO: grind\n* done\n", ["grind"]),
        ("All `TODO: x` marks are gone, and no TODO is left.\n", []),
        ("```\n# TODO: in code\n- [ ] in code\n## Open\n- in code\n```\n", []),
        ("Known gaps: the lid sticks.\n\n- other\n", ["the lid sticks."]),
        ("- **Offen:** der Deckel klemmt\n", ["der Deckel klemmt"]),
        ("## Open\n\nThe lid\nsticks.\n\nIt drips.\n", ["The lid sticks.", "It drips."]),
        ("## Open\n\n- lid\n  - its hinge\n", ["lid"]),
        ("## Open\n\n### Known gaps\n\n- lid\n\n## Done\n\n- spout\n", ["lid"]),
    ],
)
def test_points_in_their_own_words(report, points):
    """Checklists, marks, labels and paragraphs; what is code says nothing."""
    assert open_points(report) == points


@pytest.mark.parametrize(
    "word", ["None.", "Keine", "Aucun", "Ninguna.", "Nada", "нет", "なし", "无", "-"]
)
def test_nothing_is_no_point(word):
    """A report that says that nothing is open leaves nothing open."""
    assert open_points(f"## Open\n\n{word}\n\nKnown gaps: {word}\n") == []


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ("## Tests\n\nAll 12 are green.\n\nMore.\n", "All 12 are green."),
        ("**Tests:** 12 passed\n", "12 passed"),
        ("Тесты: 12 прошли\n", "12 прошли"),
        ("```\n=== 1 failed, 11 passed in 0.2s ===\n```\n", "1 failed, 11 passed in 0.2s"),
        ("It boils.\n", ""),
    ],
)
def test_how_the_tests_ended(report, words):
    """What stands under such a heading or label, or else the last line that counts tests."""
    assert words_on_tests(report) == words


@given(st.text(alphabet=" -*[]x#:`~\n\tOpenTODO課", max_size=80))
def test_any_text_can_be_read(report):
    """A point is one line that says something."""
    for point in open_points(report):
        assert point.strip()
        assert "\n" not in point
