"""E-mail addresses, also written as `jane [at] mail [dot] org`. Looked for around each @ (RFC 5321, 5322, 6531)."""

from __future__ import annotations

import re

from headwater.data.operators.pii.top_level_domains import TOP_LEVEL_DOMAINS

_LETTER = rb"[\xc3-\xd4][\x80-\xbf]"  # letters of Latin, Greek and Cyrillic beyond ASCII
_LABEL = rb"(?:[A-Za-z0-9]|" + _LETTER + rb")(?:[A-Za-z0-9\-]|" + _LETTER + rb"){0,62}"
_LOCAL = rb"(?:[A-Za-z0-9_]|" + _LETTER + rb")(?:[A-Za-z0-9._%+\-]|" + _LETTER + rb"){0,63}"
_LOCAL_END = re.compile(rb"(?:" + _LOCAL + rb")\Z")
_DOMAIN = re.compile(rb"(?:" + _LABEL + rb"\.){1,8}(?:[A-Za-z]{2,24}|xn--[a-z0-9\-]{1,59})(?![A-Za-z0-9_\-])")
RESERVED = re.compile(rb"(?:^|\.)(?:example(?:\.(?:com|net|org|edu))?|test|invalid|localhost)\Z", re.I)  # RFC 2606
_WRITTEN_BEFORE = re.compile(rb"(" + _LOCAL + rb") ?\Z")
_WRITTEN = re.compile(
    rb"[(\[] ?at ?[)\]] ?((?:[A-Za-z0-9\-]{1,63}(?:\.| ?[(\[] ?(?:dot|punkt|punto|point) ?[)\]] ?)){1,5}[A-Za-z]{2,24})"
    rb"(?![A-Za-z0-9_\-])",
    re.I,
)
_DOT = re.compile(rb" ?[(\[] ?(?:dot|punkt|punto|point) ?[)\]] ?", re.I)
_MAIL_SITES = (b"com", b"org", b"net", b"edu", b"gov")
_REMOTE_USERS = (b"git", b"hg", b"svn", b"bzr", b"cvs", b"anoncvs")
_NO_MAIL = (b"openssh.com", b"libssh.org")  # names of ciphers are written like addresses: chacha20-poly1305@openssh.com
_LOCAL_BYTES, _URL_BYTES = 64, 256


def email_at(text: bytes, place: int) -> tuple[int, int] | None:
    """The address around text[place], an @ or the bracket of "(at)"."""
    return _plain(text, place) if text[place] == ord("@") else _written(text, place)


def user_info(text: bytes, place: int) -> int:
    """Where the user of a URL such as ftp://user:password@host begins, when text[place] is the @ of one; else -1."""
    start = text.rfind(b"://", max(0, place - _URL_BYTES), place)
    if start < 0 or any(byte in b" \t\r\n/?#\"'<>" for byte in text[start + 3 : place]):
        return -1
    return -1 if text[max(0, start - 6) : start].lower() == b"mailto" else start + 3


def _plain(text: bytes, place: int) -> tuple[int, int] | None:
    local = _LOCAL_END.search(text[max(0, place - _LOCAL_BYTES) : place])
    domain = _DOMAIN.match(text, place + 1, place + 256)
    if not local or not domain or local[0].endswith(b".") or user_info(text, place) >= 0:
        return None
    name = _mail_domain(domain[0])
    if not name or name.lower() in _NO_MAIL:
        return None
    stop = place + 1 + len(name)
    after = text[stop : stop + 2]
    if after[:1] == b"(" and name.rpartition(b".")[2].lower() not in _MAIL_SITES:
        return None  # code: A@x.to(device)
    if after[:1] == b":" and local[0] in _REMOTE_USERS and not after[1:].isspace():
        return None  # git@host:path
    return place - len(local[0]), stop


def _written(text: bytes, place: int) -> tuple[int, int] | None:
    local = _WRITTEN_BEFORE.search(text[max(0, place - _LOCAL_BYTES) : place])
    domain = _WRITTEN.match(text, place, place + 300)
    if not local or not domain or not _mail_domain(_DOT.sub(b".", domain[1])):
        return None
    return place - len(local[0]), domain.end()


def _mail_domain(domain: bytes) -> bytes:
    """The longest beginning of a domain that ends in a top-level domain; empty when there is none."""
    labels = domain.split(b".")
    while len(labels) > 1:
        last = labels[-1].lower()
        if last in TOP_LEVEL_DOMAINS or last.startswith(b"xn--"):
            name = b".".join(labels)
            return b"" if RESERVED.search(name) else name
        if last == b"example" or last == b"test":
            return b""
        labels.pop()
    return b""
