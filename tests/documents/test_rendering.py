"""What templates make: no secret in it, however little of it is new."""

from __future__ import annotations

import pytest

from vespera_orchestrator._secrets import mask
from vespera_orchestrator.documents.rendering import Renderer

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
KEY = "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----".format(
    "MIIEpAIBAAKC" * 5
)
TEMPLATE = "<!-- vespera:section all -->\n{{ text }}\n<!-- vespera:end all -->\n"


@pytest.mark.parametrize("place", [0, 1, 150, 299, 300])
@pytest.mark.parametrize("secret", [f"token = {TOKEN}", KEY], ids=["token", "private key"])
def test_a_secret_that_comes_into_a_long_text_is_masked(tmp_path, secret, place):
    """Also where the text before had none, and was not looked at again as a whole."""
    (tmp_path / "parts.md.j2").write_text(TEMPLATE)
    renderer = Renderer(tmp_path)
    lines = [f"Line {number}." for number in range(300)]
    clean = renderer.render("PARTS.md", {"text": "\n".join(lines)})
    assert "Line 299." in clean
    lines[place:place] = secret.split("\n")
    text = "\n".join(lines)
    masked = renderer.render("PARTS.md", {"text": text})
    assert masked == TEMPLATE.replace("{{ text }}", mask(text))
    assert "[masked:" in masked
    again = renderer.render("PARTS.md", {"text": f"More.\n{text}"})
    assert again == TEMPLATE.replace("{{ text }}", mask(f"More.\n{text}"))


@pytest.mark.parametrize("first", [1, 60, 130])
def test_a_key_that_is_completed_by_one_line_is_masked(tmp_path, first):
    """Its other lines were there before, and are near."""
    (tmp_path / "parts.md.j2").write_text(TEMPLATE)
    renderer = Renderer(tmp_path)
    body = "\n".join(f"Zm9vYmFy{number:04}" for number in range(60))
    head, end = KEY.split("\n")[0], KEY.split("\n")[-1]
    filler = "\n".join(f"Line {number}." for number in range(first))
    renderer.render("PARTS.md", {"text": f"{filler}\n{body}\n{end}\n{filler}"})
    text = f"{filler}\n{head}\n{body}\n{end}\n{filler}"
    assert renderer.render("PARTS.md", {"text": text}) == TEMPLATE.replace("{{ text }}", mask(text))
