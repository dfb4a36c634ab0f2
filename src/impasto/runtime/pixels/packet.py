"""A recipe inside an XMP packet: put beside what is there, found again, taken out. Nothing else of the packet changes.

XMP (ISO 16684-1) is RDF in XML, and the one place for own metadata that JPEG, PNG, WebP, AVIF and TIFF all have and
that editors keep. A recipe is one text property of a namespace of our own.
"""

from __future__ import annotations

import html
import re

NAMESPACE = "urn:impasto:recipe/"
"""The XMP namespace of recipes."""

LONGEST = 256 * 1024
"""Bytes of a recipe, as it stands in a packet, beyond which none is read."""

COMMENT = b"impasto recipe: "
"""What a JPEG comment begins with that holds a recipe: where it does not fit into the packet of the photo."""

_RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OPEN, _CLOSE = b"<impasto:recipe>", b"</impasto:recipe>"
_HEAD = b'<rdf:Description rdf:about="" xmlns:rdf="' + _RDF + b'" xmlns:impasto="' + NAMESPACE.encode() + b'">'
_TAIL = b"</rdf:Description>"
_ELEMENT = re.escape(_OPEN) + rb"([^<]*)" + re.escape(_CLOSE)
# Our own description whole; or the property, which editors may have put elsewhere, or made an attribute of.
_HELD = re.compile(
    b"|".join(
        (
            re.escape(_HEAD) + _ELEMENT + re.escape(_TAIL),
            _ELEMENT,
            rb"impasto:recipe\s*=\s*\"([^\"<]*)\"",
            rb"impasto:recipe\s*=\s*'([^'<]*)'",
        )
    )
)
_END = re.compile(rb"</[A-Za-z_][\w.-]{0,40}:RDF\s*>")
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="' + _RDF + b'"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def with_recipe(xmp: bytes | None, text: str) -> bytes:
    """A packet that holds a recipe, in place of one that it held before.

    Args:
        xmp: the packet so far, or None.
        text: printable ASCII, such as JSON.
    """
    held = b"".join((_HEAD, _OPEN, html.escape(text, quote=False).encode("ascii"), _CLOSE, _TAIL))
    packet = without_recipe(xmp) or _EMPTY
    ends = list(_END.finditer(packet))
    # What is no RDF of this kind (another encoding, say) is left as it is, with a packet of our own after it.
    if not ends:
        return packet + with_recipe(None, text)
    at = ends[-1].start()
    return packet[:at] + held + packet[at:]


def without_recipe(xmp: bytes | None) -> bytes | None:
    """The packet without a recipe; None where nothing else was in it."""
    kept = None if xmp is None else _HELD.sub(b"", xmp)
    return None if kept == _EMPTY else kept


def holds_recipe(xmp: bytes | None) -> bool:
    """Whether a packet holds a recipe, be it damaged."""
    return xmp is not None and _HELD.search(xmp) is not None


def recipe_in(xmp: bytes | None, comment: bytes | None = None) -> str | None:
    """The text of the recipe in a packet, or in the comment of a JPEG; None where there is none.

    Args:
        xmp: from the file; anything.
        comment: of a JPEG; anything.

    Raises:
        ValueError: it is longer than `LONGEST`, or no text.
    """
    held = None if xmp is None else list(_HELD.finditer(xmp))
    if held:
        raw = next(group for group in held[-1].groups() if group is not None)
    elif comment is not None and comment.startswith(COMMENT):
        raw = comment.removeprefix(COMMENT)
    else:
        return None
    if len(raw) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} bytes")
    text = raw.decode("utf-8")
    return html.unescape(text) if held else text
