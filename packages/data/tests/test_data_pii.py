import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headwater.data.operators.pii import (
    KINDS,
    PLACEHOLDERS,
    Pii,
    PiiConfig,
    original_place,
    read_detail,
    redact,
)
from headwater.data.operators.pii.secret import entropy_bits

sys.path.insert(0, str(Path(__file__).resolve().parent))

from planted_pii import Planter, cases, measure

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


@pytest.mark.parametrize(
    "text",
    [
        "36.7.2.1. SQLDA Data Structure\n6.1.8.65. Boards",  # numbers of sections begin their lines
        "see Section\u00a06.2.4.3 and Chrome/91.0.120.12",
        'ObjectIdentifier("2.5.4.97")',
        "14-Jan-2019::10:45:52.868246 and 2abc::def",
        "icon@2x.png react@18.2.0 chacha20-poly1305@openssh.com A@x.to(device)",
        "git clone git@github.com:acme/x.git and ssh://git@git.acme.io/x",
        "x = 4539578763621486; seed(4539578763621486) /posts/4539578763621486",  # numbers of programs
        "GB00 4539 5787 6362 1486 12 and DE00 8090 8624 9536 1317 81",
        "Decimal('+35236450.6') and +1.2345678901",
        "Phone 12.03.2024 and text 2024-03-12",
        '"NextToken": "9f8A7c6B5d4E3f2A1b0C9d8E"',
        '"AWS::IAM::AccessKey": "62d91b17309e76c8"',
        "private_key: x25519.X25519PrivateKey",
        "tokenizer = 'Qwen/Qwen2-7B-Instruct'",
        "secret: prod-database-2024-eu-west-1",
        'token: "550e8400-e29b-41d4-a716-446655440000"',
        'keys in the format "-----BEGIN EC PRIVATE KEY-----" are old',
        'START = b"-----BEGIN OPENSSH PRIVATE KEY-----"\nEND = b"-----END OPENSSH PRIVATE KEY-----"',
        "eyJub3QiOiJ-.eyJhIHRva2Vu.abcdefghijklmnopqrstu",
        "1911 0038 2290 3311 4539 5787 6362 1486 8812 0043 7786 9120",  # a table
    ],
)
def test_what_was_once_taken_for_personal_data_stays(text):
    assert redact(text, CONFIG) == (text, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jane [at] mail [dot] org and joe(at)mail.org", "<EMAIL> and <EMAIL>"),
        ("邮箱jane@qq.com或者", "邮箱<EMAIL>或者"),
        ("an müller@uni-bonn.de.", "an <EMAIL>."),
        ("mail joe@mail.org.Then go", "mail <EMAIL>.Then go"),
        ("Tél. : 06 12 31 70 14", "Tél. : <PHONE>"),
        ("电话：010-62782051", "电话：<PHONE>"),
        ("(201-559-7881) or 1-800-528-4800", "(<PHONE>) or <PHONE>"),
        ("pay by 4539 5787 6362 1486 09/27", "pay by <CARD> 09/27"),
        ("DE89 3704 0044 0532 0130 00 4539 5787 6362 1486", "<IBAN> <CARD>"),
        ("ü 4539 5787 6362 1486 DE89 3704 0044 0532 0130 00 ä", "ü <CARD> <IBAN> ä"),
        ("VISA 4539578763621486", "VISA <CARD>"),
        ("4539 5787 6362 1486 4539 5787 6362 1486", "<CARD> <CARD>"),
        ("4539578763621486 4539578763621486 4539578763621486", "<CARD> <CARD> <CARD>"),
        ("Visa 4539 5787 6362 1486 8812 0043 7786", "Visa <CARD> 8812 0043 7786"),
        ("4539 5787 6362 1486 DE89 3704 0044 0532 0130 00", "<CARD> <IBAN>"),
        ("Tel. 030 12345678 / 4539 5787 6362 1486", "Tel. <PHONE> / <CARD>"),
        ("IBAN: DE89 3704 0044 0532 0130 00.", "IBAN: <IBAN>."),
        ("IBAN:GB29NWBK60161331926819 BIC", "IBAN:<IBAN> BIC"),
        ("DB_PASSWORD=W2ROtLgEEPJUfTyPV1azoPOO", "DB_PASSWORD=<SECRET>"),
        ("Authorization: Basic amFuZTpodW50ZXIy", "Authorization: Basic <SECRET>"),
        ("key\n-----BEGIN PRIVATE KEY-----\n" + "Ab1/" * 20, "key\n<SECRET>"),  # cut off
    ],
)
def test_more_forms_are_redacted(text, expected):
    assert redact(text, CONFIG)[0] == expected


def test_every_kind_is_found_where_it_is_planted_and_nowhere_else():
    counts, mistakes = measure(cases(120, seed=7))
    for kind in KINDS:
        tally = counts[kind]
        assert tally["planted"] == 120
        assert tally["found"] / tally["planted"] >= FLOORS[kind], [m for m in mistakes if m[2] == kind][:5]
        assert tally["false alarms"] <= 1, [m for m in mistakes if m[0] == "false alarm"][:5]


FLOORS = {"email": 0.99, "ip": 0.97, "phone": 0.98, "card": 0.99, "iban": 0.99, "secret": 0.97}


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_places_lead_back_to_the_original(seed):
    planter = Planter(seed)
    makers = [planter.email, planter.ip, planter.phone, planter.card, planter.iban, planter.secret, planter.negative]
    text = " 日本 ".join(planter.random.choice(makers)().text for _ in range(5))
    redacted, done = redact(text, CONFIG)
    assert done == sorted(done, key=lambda each: each.start)
    rebuilt, place = [], 0
    for kind, start, length, new_start, new_length in done:
        rebuilt += [text[place:start], PLACEHOLDERS[kind]]
        assert redacted[new_start : new_start + new_length] == PLACEHOLDERS[kind]
        place = start + length
    assert "".join([*rebuilt, text[place:]]) == redacted
    inside = {n for each in done for n in range(each.new_start, each.new_start + each.new_length)}
    for n, character in enumerate(redacted):
        if n not in inside:
            assert text[original_place(done, n)] == character
    for each in done:
        assert original_place(done, each.new_start) == each.start


def test_the_verdict_records_places_up_to_a_bound_and_never_a_value(rows):
    text = "é " + " ".join(f"user{i}@mail.org" for i in range(9))
    verdicts = Pii(PiiConfig(max_recorded=4)).process(rows(["clean", text]))
    detail = json.loads(verdicts.details[1])
    assert detail["email"] == 9 and len(detail["spans"]) == 4 and "mail.org" not in verdicts.details[1]
    first = read_detail(verdicts.details[1])[0]
    assert text[first.start : first.start + first.length] == "user0@mail.org"
    assert verdicts.counters == {"redacted_email": 9} and read_detail(verdicts.details[0]) == []


def test_a_batch_without_findings_keeps_its_very_column(rows):
    batch = rows(["clean", "", "also clean"])
    assert Pii(PiiConfig()).process(batch).batch.column("text").buffers()[2].address == (
        batch.column("text").buffers()[2].address
    )


def test_findings_do_not_depend_on_the_batch(rows):
    texts = [case.text for case in cases(4, seed=3)]
    whole = Pii(PiiConfig()).process(rows(texts))
    for at in (1, 7):
        parts = [Pii(PiiConfig()).process(rows(texts).slice(a, at)) for a in range(0, len(texts), at)]
        assert [t for part in parts for t in part.batch.column("text").to_pylist()] == (
            whole.batch.column("text").to_pylist()
        )
        assert [d for part in parts for d in part.details] == whole.details


def test_placeholders_can_be_chosen():
    config = PiiConfig(placeholders={"email": "[MAIL]"})
    assert redact("a@b.org from 8.8.8.8", config)[0] == "[MAIL] from <IP_ADDRESS>"
    for bad in ("", "me@mail.org", "<8.8.8.8>", "EMAIL", "<a@b.org>"):
        with pytest.raises(ValidationError, match="brackets"):
            PiiConfig(placeholders={"email": bad})


def test_every_kind_can_be_switched_off():
    texts = [case.text for case in cases(5, seed=11) if case.planted]
    for kind in KINDS:
        found = {each.kind for text in texts for each in redact(text, PiiConfig(kinds=(kind,)))[1]}
        assert found == {kind}


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
        "DE89 3704 0044 0532 0130 00",
        "4539 5787 6362 1486",
        "Tel: 030 ",
        "12345678",
        "ip 5.6.7.8",
        "jane [at] mail.org",
        "Bearer ",
        "/",
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
        "1 ",
        "0049 ",
        "DE89 ",
        "4539578763621486 ",
        "Tel 030 ",
        "1.2.3.4 ",
        "a [at] ",
        "eyJ",
        "eyJhbGciOiJ.eyJ.",
        "-----BEGIN PRIVATE KEY-----\n",
        "20ab:",
        "@@",
        "Bearer a1",
    ],
)
def test_hostile_repetition_takes_linear_time(piece):
    def seconds(copies):
        text = piece * copies
        start = time.process_time()
        redact(text, CONFIG)
        return time.process_time() - start

    # Quadratic work on 300 kB would take minutes; the generous bound is no measurement of speed.
    assert seconds(300_000 // len(piece)) < 20


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
