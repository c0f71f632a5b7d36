"""A mail as text: what its head says, and what was written, decoded.

In the file, every letter beyond ASCII is written as ``=C3=BC``, or the whole text is base64. Nobody
finds a word in that, and nobody who forgets a secret would see it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import SearchGap
from vespera_orchestrator.artifacts.content.decoding import decoded
from vespera_orchestrator.artifacts.content.readable_text import ReadableText

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

MEDIA_TYPE: Final = "message/rfc822"
_HEAD: Final = ("Subject", "From", "To", "Cc", "Date")
_PLAIN: Final = "text/plain"
_HTML: Final = "text/html"


def mail_text(content: bytes) -> ReadableText | None:
    """Return a mail as text, with those that it forwards; ``None`` if *content* is no mail."""
    from email import message_from_bytes, policy

    try:
        mail = message_from_bytes(content, policy=policy.default)
        if not any(name in mail for name in _HEAD):
            return None
        return _readable([part for part in mail.walk() if isinstance(part, type(mail))])
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return None  # Python's parser raises all of these at heads that break the rules


def _readable(parts: list[EmailMessage]) -> ReadableText:
    kinds = {part.get_content_type() for part in parts if not part.is_attachment()}
    # Most mails say the same twice, and plain text reads better.
    read = {_PLAIN} if _PLAIN in kinds else {_PLAIN, _HTML}
    texts: list[str] = []
    has_more = False
    for part in parts:
        texts += _head(part)
        if part.is_multipart():
            continue
        if part.get_content_type() in read:
            texts.append(_body(part))
        elif part.get_content_type() != _HTML or part.is_attachment():
            has_more = True
            texts.append(f"[attached: {part.get_filename() or part.get_content_type()}]")
    text = ReadableText(text="\n\n".join(filter(None, texts)))
    return text.with_gap(SearchGap.ATTACHMENTS) if has_more else text


def _head(part: EmailMessage) -> Iterator[str]:
    lines = [f"{name}: {part[name]}" for name in _HEAD if name in part]
    if lines:
        yield "\n".join(lines)


def _body(part: EmailMessage) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    try:
        text = content.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeError):
        text = decoded(content)
    return text.replace("\r\n", "\n").strip()
