"""Percent-decoding and query strings, without `urllib.parse` (12 ms and a regular expression engine to import).

Both functions give what `urllib.parse.unquote` and `urllib.parse.parse_qsl(text, keep_blank_values=True)` give; the
tests compare them. Neither raises on any text.
"""

from __future__ import annotations

_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")


def unquote(text: str) -> str:
    """Decode `%XX` sequences as UTF-8; what is not valid becomes U+FFFD, a `%` without two hex digits stays."""
    if "%" not in text:
        return text
    parts = text.encode("utf-8", "surrogatepass").split(b"%")
    decoded = bytearray(parts[0])
    for part in parts[1:]:
        if len(part) >= 2 and part[0] in _HEX_DIGITS and part[1] in _HEX_DIGITS:
            decoded.append(int(part[:2], 16))
            decoded += part[2:]
        else:
            decoded += b"%"
            decoded += part
    return decoded.decode("utf-8", "replace")


def parse_query(query_string: str) -> list[tuple[str, str]]:
    """Split `a=1&b=&c` into pairs, in order and decoded; empty segments vanish, a name without `=` has the value ""."""
    pairs: list[tuple[str, str]] = []
    plain = "%" not in query_string and "+" not in query_string
    for segment in query_string.split("&"):
        if segment:
            name, _, value = segment.partition("=")
            if not plain:
                name = unquote(name.replace("+", " "))
                value = unquote(value.replace("+", " "))
            pairs.append((name, value))
    return pairs
