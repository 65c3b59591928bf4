import json
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data.operators.pii import (
    PLACEHOLDERS,
    Pii,
    PiiConfig,
    original_place,
    read_detail,
    redact,
)
from headwater.data.operators.pii.secret import entropy_bits

CONFIG = PiiConfig()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+x@mail.uni-bonn.de, please.", "Write to <EMAIL>, please."),
        ("<a href=mailto:a@b.co>", "<a href=mailto:<EMAIL>>"),
        ("two: a@b.org;c@d.org", "two: <EMAIL>;<EMAIL>"),
        ("From 8.8.8.8 to 2001:4860:4860::8888 now", "From <IP_ADDRESS> to <IP_ADDRESS> now"),
        ("Call +44 20 7946 0018 or (650) 253-0000.", "Call <PHONE> or <PHONE>."),
        ("Call 650-253-0000!", "Call <PHONE>!"),
        ("key AKIAIOSFODNN7EXAMPLQ end", "key <SECRET> end"),
        ("token ghp_" + "a1B2c3D4e5F6" * 3 + " end", "token <SECRET> end"),
        ("xoxb-123456789012-abcdefABCDEF", "<SECRET>"),
        ("AIza" + "SyA-1234567890abcdefghijklmnopqrstu", "<SECRET>"),
        ('api_key = "9f8A7c6B5d4E3f2A1b0C9d8E"', 'api_key = "<SECRET>"'),
        ("host 8.8.8.8. Next", "host <IP_ADDRESS>. Next"),
        ("at 8.8.8.8.It answers", "at <IP_ADDRESS>.It answers"),
        ("conv 8.8.8.8, avoid 8.8.4.4, server: 1.1.1.1", "conv <IP_ADDRESS>, avoid <IP_ADDRESS>, server: <IP_ADDRESS>"),
        ("git clone https://jane:hunter2@git.uni-bonn.de/x", "git clone https://jane:<SECRET>@git.uni-bonn.de/x"),
        (
            "ftp://u:pw@8.8.8.8/ and https://a.org:80/,b@c.org",
            "ftp://u:<SECRET>@<IP_ADDRESS>/ and https://a.org:80/,<EMAIL>",
        ),
        ("https://u:ghp_" + "a1B2c3D4e5F6" * 3 + "-x@c.org", "https://u:<SECRET>@c.org"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nrest", "<SECRET>\nrest"),
    ],
)
def test_planted_values_are_redacted(text, expected):
    assert redact(text, CONFIG)[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "someone@example.com and root@localhost",  # reserved names (RFC 2606)
        "@property\ndef x(self): return a @ b",
        "ping 10.0.0.1, 192.168.1.1, 127.0.0.1, ::1 and fe80::1",  # not public
        "version 1.2.3.4 and OID 1.3.6.1.4.1.311",
        "v 1.2.3.4, v. 1.2.3.4, v1.2.3.4, V: 1.2.3.4, ver. 1.2.3.4, Version is 1.2.3.4, versions 1.2.3.4",
        '{"version": "1.2.3.4"} <version>1.2.3.4</version> __version__ = "1.2.3.4" (version number 1.2.3.4)',
        "1.0.0.127.in-addr.arpa, 8.8.8.8.IN-ADDR.ARPA, dns-8.8.8.8, x.8.8.8.8, 8.8.8.8.bc.googleusercontent.com",
        "https://user:password@proxy.example.com:3128/ and postgres://me:secret@localhost/db",
        "x[1::2], std::vector, 12:34:56, a::b",
        "pi is 3.14159265358979 and 100-200-3000",
        "ISBN 978-3-16-148410-0, order 2024-01-02",
        'password = "correct horse"',
        'token = "aaaaaaaaaaaaaaaaaaaaaaaa"',  # no entropy
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_what_only_looks_like_personal_data_stays(text):
    assert redact(text, CONFIG) == (text, [])


WORDS = st.sampled_from(
    [
        "a@b.org",
        "8.8.8.8",
        "+44 20 7946 0018",
        "ghp_" + "x1" * 18,
        "word",
        "@",
        "::",
        "-----BEGIN PRIVATE KEY-----",
        "1.2.3",
        "\n",
        "<EMAIL>",
        "é",
        "+1",
        "(650) 253-0000",
        "x" * 70 + "@y.zz",
        "https://u:pw@b.org/",
        "ftp://",
        "u:",
        "@8.8.8.8",
        'secret="A1b2C3d4E5f6G7h8J9"',
    ]
)
MIXED = st.lists(st.one_of(WORDS, st.text(max_size=8)), max_size=12).map(" ".join)


@given(MIXED)
def test_redacting_twice_changes_nothing(text):
    once, _ = redact(text, CONFIG)
    assert redact(once, CONFIG)[0] == once


@given(MIXED)
def test_every_redaction_is_counted_and_the_rest_is_untouched(text):
    redacted, done = redact(text, CONFIG)
    counts = Counter(each.kind for each in done)
    added = {kind: redacted.count(mark) - text.count(mark) for kind, mark in PLACEHOLDERS.items()}
    for kind, n in counts.items():
        assert added[kind] <= n
    if not counts:
        assert redacted == text


@given(st.text(max_size=40), st.text(max_size=40))
def test_an_address_between_spaces_is_always_found(before, after):
    redacted, done = redact(f"{before} jane@mail.org {after}", CONFIG)
    assert "jane@mail.org" not in redacted and done


@pytest.mark.parametrize(
    "piece",
    [
        "a@",
        "@",
        "a.b-c@d.",
        "://a:",
        "://a:b@c.d",
        "1.",
        "1.1.1.",
        ":",
        "a:",
        "+1 ",
        "(555",
        "555-",
        "key=",
        'token="',
        "-----BEGIN ",
        "A" * 64,
    ],
)
def test_hostile_repetition_takes_linear_time(piece):
    def seconds(copies):
        text = piece * copies
        start = time.process_time()
        redact(text, CONFIG)
        return time.process_time() - start

    # Quadratic work on a megabyte would take minutes; the generous bound is no measurement of speed.
    assert seconds(1_000_000 // len(piece)) < 30


def test_kinds_can_be_chosen_and_counters_say_how_many(rows):
    batch = rows(["mail a@b.org c@d.org from 8.8.8.8", "nothing here"])
    verdicts = Pii(PiiConfig(kinds=("email",))).process(batch)
    assert verdicts.batch.column("text").to_pylist() == ["mail <EMAIL> <EMAIL> from 8.8.8.8", "nothing here"]
    assert verdicts.outcomes == ["change", "keep"]
    assert json.loads(verdicts.details[0]) == {"email": 2, "spans": [["email", 5, 7, 5, 7], ["email", 13, 7, 13, 7]]}
    assert verdicts.counters == {"redacted_email": 2}


@pytest.mark.parametrize(("kinds", "expected"), [(("email",), "pw"), (("secret",), "<SECRET>")])
def test_a_password_in_a_url_is_a_secret_and_no_address(kinds, expected):
    text = "see https://jane:{}@host.org/x"
    assert redact(text.format("pw"), PiiConfig(kinds=kinds))[0] == text.format(expected)


def test_entropy():
    assert entropy_bits(b"aaaa") == 0 and entropy_bits(b"abcd") == 2
