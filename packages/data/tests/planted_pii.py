# ruff: noqa: E501 — whole lines of text are the data here
"""Sentences with planted personal data and secrets, and sentences that only look as if they had some.

Everything is made up: values are drawn from a seeded generator, in the forms in which people write them. The same seed
gives the same sentences on every machine.
"""

import base64
import json
import random
import string
from collections import Counter
from typing import NamedTuple

import phonenumbers
import pyarrow as pa

from headwater.data.operators.pii import PiiConfig
from headwater.data.operators.pii.recognise import found_in

HEX, LOWER, UPPER, DIGITS = "0123456789abcdef", string.ascii_lowercase, string.ascii_uppercase, string.digits
WORD = string.ascii_letters + DIGITS
FIRST = [
    "anna",
    "jonas",
    "marie",
    "luca",
    "sofia",
    "peter",
    "yuki",
    "wei",
    "fatima",
    "olga",
    "carlos",
    "ines",
    "émile",
    "jürgen",
    "łukasz",
    "zoë",
]
LAST = [
    "smith",
    "müller",
    "rossi",
    "garcía",
    "dubois",
    "kowalski",
    "tanaka",
    "zhang",
    "ivanova",
    "silva",
    "o'neil",
    "jansen",
    "berg",
    "haddad",
]
DOMAINS = [
    "uni-bonn.de",
    "gmail.com",
    "corp.acme.co.uk",
    "orange.fr",
    "web.de",
    "yahoo.co.jp",
    "qq.com",
    "mail.ru",
    "ufmg.br",
    "startup.io",
    "lab.cs.mit.edu",
    "firma.museum",
    "posteo.net",
    "proton.me",
    "company.technology",
    "163.com",
]
PROSE = {
    "en": (
        "You can reach me under {} until Friday.",
        "The report names {} as the contact.",
        "Contact: {}",
        "She wrote it down ({}) and left.",
        "It is {}.",
        "{} was in the list we received,",
    ),
    "de": (
        "Sie erreichen mich unter {} bis Freitag.",
        "Der Bericht nennt {} als Ansprechpartner.",
        "Angaben: {}",
        "Es lautet {}.",
    ),
    "fr": ("Vous pouvez me joindre ici : {} jusqu'à vendredi.", "Voici ce qu'il a noté : {}.", "Coordonnées : {}"),
    "es": ("Puede localizarme en {} hasta el viernes.", "El informe menciona {} como contacto.", "Datos: {}"),
    "it": ("Mi trova qui: {} fino a venerdì.", "Nel modulo c'è scritto {}."),
    "pl": ("Proszę pisać tutaj: {} do piątku.",),
    "ru": ("Связаться можно так: {} до пятницы.",),
    "zh": ("联系方式：{}，谢谢。", "请记下{}再回复"),
    "ja": ("連絡先は {} です。", "こちら「{}」まで"),
}
TEMPLATES = [template for group in PROSE.values() for template in group]


class Case(NamedTuple):
    """A text and the (kind, value) pairs planted in it, none for a hard negative; `form` says how it is written."""

    text: str
    planted: tuple[tuple[str, str], ...]
    form: str


class Planter:
    """Draws cases from a seed."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)

    def some(self, letters, count):
        return "".join(self.random.choices(letters, k=count))

    def prose(self, value):
        return self.random.choice(TEMPLATES).replace("{}", value)

    def case(self, kind, value, form, text=None):
        return Case(self.prose(value) if text is None else text.replace("{}", value), ((kind, value),), form)

    def email(self):
        r = self.random
        local = r.choice(("{f}.{l}", "{f}{n}", "{f}_{l}", "{f[0]}{l}", "{f}.{l}+news", "{f}-{l}", "{n}{f}", "{f}")).format(
            f=r.choice(FIRST), l=r.choice(LAST).replace("'", ""), n=r.randrange(1, 2000))  # fmt: skip
        if r.random() < 0.6:
            local = local.encode("ascii", "ignore").decode() or "anna"
        address = f"{local}@{r.choice(DOMAINS)}"
        form = r.choice(
            ("prose", "prose", "prose", "angle", "mailto", "list", "quoted", "upper", "sentence", "code", "written")
        )
        if form == "written":
            user, _, host = address.encode("ascii", "ignore").decode().partition("@")
            value = r.choice(
                (
                    f"{user} [at] {host.replace('.', ' [dot] ')}",
                    f"{user}(at){host}",
                    f"{user} (at) {host.replace('.', ' (dot) ')}",
                    f"{user}[at]{host}",
                )
            )
            return self.case("email", value, form)
        shapes = {"angle": f"{r.choice(FIRST).title()} {r.choice(LAST).title()} <{{}}>", "mailto": '<a href="mailto:{}">mail</a>', "list": "x, {}; y",
                  "quoted": 'author = "{}"', "sentence": "Write to {}. Then wait.", "code": "git config user.email {}"}  # fmt: skip
        return self.case("email", address.upper() if form == "upper" else address, form, shapes.get(form))

    def ip(self):
        r = self.random
        form = r.choice(("v4", "v4", "log", "port", "url", "ssh", "v6", "v6 short", "v6 url", "list"))
        if form.startswith("v6"):
            groups = [
                r.choice(("2a00", "2600", "2001", "2404")),
                f"{r.randrange(0x600, 0x9FF):x}",
                *(f"{r.randrange(1, 65536):x}" for _ in range(6)),
            ]
            value = ":".join(groups) if form != "v6 short" else f"{groups[0]}:{groups[1]}::{groups[7]}"
            return self.case("ip", value, form, f"http://[{{}}]:{r.randrange(1, 9999)}/x" if form == "v6 url" else None)
        while True:
            octets = [r.randrange(3, 224), *(r.randrange(0, 256) for _ in range(2)), r.randrange(1, 255)]
            if octets[0] not in (10, 100, 127, 169, 172, 192, 198, 203):
                break
        value = ".".join(map(str, octets))
        shapes = {"log": '{} - - [12/Mar/2024:06:25:24 +0100] "GET /robots.txt HTTP/1.1" 200 68', "port": "peer {}:6881 said hello", "url": "see http://{}/admin/login.php",
                  "ssh": "Failed password for root from {} port 4711 ssh2", "list": "allow 10.0.0.1, {}, 192.168.0.4;"}  # fmt: skip
        return self.case("ip", value, form, shapes.get(form))

    def phone(self):
        r = self.random
        words = {"US": "Phone: {}", "GB": "Tel: {}", "DE": "Telefon: {}", "AT": "Tel. {}", "CH": "Telefon {}", "FR": "Tél. : {}", "ES": "Teléfono: {}", "MX": "Celular: {}",
                 "IT": "Telefono: {}", "BR": "Telefone: {}", "PT": "Telemóvel: {}", "NL": "Telefoonnummer: {}", "RU": "Телефон: {}", "CN": "电话：{}", "JP": "電話番号: {}",
                 "KR": "전화: {}", "SE": "Mobil: {}", "PL": "Telefon: {}", "IN": "Mobile: {}"}  # fmt: skip
        region = r.choice(list(words))
        number = self._number(region)
        style = phonenumbers.PhoneNumberFormat
        form = r.choice(
            ("e164", "international", "national with a word", "dial 00", "tel:", "dots", "plain US", "plain US")
        )
        if form == "plain US":
            number = self._number("US")
            digits = str(number.national_number)
            a, b, c = digits[:3], digits[3:6], digits[6:]
            return self.case(
                "phone", r.choice((f"({a}) {b}-{c}", f"{a}-{b}-{c}", f"{a}.{b}.{c}", f"1-{a}-{b}-{c}")), form
            )
        if form == "national with a word":
            return self.case("phone", phonenumbers.format_number(number, style.NATIONAL), form, words[region])
        if form == "tel:":
            return self.case("phone", phonenumbers.format_number(number, style.E164), form, '<a href="tel:{}">')
        value = phonenumbers.format_number(number, style.E164 if form == "e164" else style.INTERNATIONAL)
        if form == "dial 00":
            value = "00" + value[1:]
        if form == "dots":
            value = value.replace(" ", ".").replace("-", ".")
        return self.case("phone", value, form, "ring {}, please" if form == "dial 00" else None)

    def _number(self, region):
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        digits = str(example.national_number)
        while True:
            example.national_number = int(digits[:-5] + self.some(DIGITS, 5))
            if phonenumbers.is_valid_number(example):
                return example

    def card(self):
        r = self.random
        prefix, size = r.choice(
            (
                ("4", 16),
                ("4", 16),
                ("51", 16),
                ("55", 16),
                ("2223", 16),
                ("34", 15),
                ("37", 15),
                ("6011", 16),
                ("3530", 16),
                ("6221", 16),
                ("36", 14),
            )
        )
        body = prefix + self.some(DIGITS, size - len(prefix) - 1)
        number = next(body + d for d in DIGITS if _luhn(body + d))
        form = r.choice(("grouped", "grouped", "hyphens", "word", "csv", "quoted"))
        if form in ("grouped", "hyphens"):
            cut = (4, 10) if size != 16 else (4, 8, 12)
            parts = [number[a:b] for a, b in zip((0, *cut), (*cut, size), strict=True)]
            return self.case("card", (" " if form == "grouped" else "-").join(parts), form)
        shapes = {
            "word": r.choice(
                ("Card no. {} exp 09/27", "Kreditkarte {}", "carte bancaire {}", "VISA {}", "credit card number: {}")
            ),
            "csv": "Doe; Jane; {}; 09/27",
            "quoted": '{"number": "{}", "cvc": "x"}',
        }
        return self.case("card", number, form, shapes[form])

    def iban(self):
        r = self.random
        country, bban = r.choice(
            (
                ("DE", "n18"),
                ("FR", "n10 c11 n2"),
                ("GB", "a4 n14"),
                ("ES", "n20"),
                ("IT", "a1 n10 c12"),
                ("NL", "a4 n10"),
                ("CH", "n5 c12"),
                ("AT", "n16"),
                ("BE", "n12"),
                ("PL", "n24"),
                ("NO", "n11"),
                ("SE", "n20"),
                ("MT", "a4 n5 c18"),
                ("SA", "n2 c18"),
                ("BR", "n23 a1 c1"),
            )
        )
        letters = {"n": DIGITS, "a": UPPER, "c": UPPER + DIGITS}
        body = "".join(self.some(letters[part[0]], int(part[1:])) for part in bban.split())
        check = 98 - int("".join(str(int(c, 36)) for c in body + country + "00")) % 97
        number = f"{country}{check:02d}{body}"
        form = r.choice(("grouped", "plain", "no-break", "form", "csv"))
        spaced = " ".join(number[i : i + 4] for i in range(0, len(number), 4))
        if form == "grouped":
            return self.case("iban", spaced, form)
        if form == "no-break":
            return self.case("iban", spaced.replace(" ", "\u00a0"), form)
        return self.case(
            "iban", number, form, {"form": "IBAN:{} BIC:COBADEFFXXX", "csv": '"Doe","{}","12.50"'}.get(form)
        )

    def secret(self):
        r = self.random
        known = {
            "aws id": lambda: "AKIA" + self.some(UPPER + "234567", 16), "github": lambda: r.choice(("ghp_", "gho_", "ghs_")) + self.some(WORD, 36),
            "slack": lambda: f"xoxb-{self.some(DIGITS, 12)}-{self.some(DIGITS, 12)}-{self.some(WORD, 24)}", "google": lambda: "AIza" + self.some(WORD + "-_", 35),
            "stripe": lambda: "sk_live_" + self.some(WORD, 24), "gitlab": lambda: "glpat-" + self.some(WORD + "_", 20), "npm": lambda: "npm_" + self.some(WORD, 36),
            "hf": lambda: "hf_" + self.some(string.ascii_letters, 34), "sendgrid": lambda: f"SG.{self.some(WORD, 22)}.{self.some(WORD, 43)}",
            "telegram": lambda: f"{r.randrange(10**8, 10**10)}:AA{self.some(WORD + '_-', 33)}", "slack hook": lambda: f"hooks.slack.com/services/T{self.some(UPPER + DIGITS, 8)}/B{self.some(UPPER + DIGITS, 8)}/{self.some(WORD, 24)}",
            "jwt": lambda: ".".join((_url64({"alg": "HS256", "typ": "JWT"}), _url64({"sub": self.some(DIGITS, 8), "name": r.choice(FIRST)}), self.some(WORD + "-_", 43))),
            "private key": lambda: f"-----BEGIN RSA PRIVATE KEY-----\n{self.some(WORD + '+/', 64)}\n{self.some(WORD + '+/', 40)}==\n-----END RSA PRIVATE KEY-----",
            "openssh key": lambda: f"-----BEGIN OPENSSH PRIVATE KEY-----\n{self.some(WORD + '+/', 70)}\n-----END OPENSSH PRIVATE KEY-----",
        }  # fmt: skip
        form = r.choice([*known, "assigned", "assigned", "assigned", "env", "yaml", "json", "bearer", "url", "url"])
        if form in known:
            return self.case(
                "secret", known[form](), form, r.choice(("key is {}", '"{}",', "TOKEN={}", "# old: {}\n", "{}"))
            )
        value = r.choice(
            (
                lambda: self.some(WORD, r.randrange(20, 44)),
                lambda: self.some(HEX, r.choice((32, 40, 64))),
                lambda: base64.b64encode(r.randbytes(24)).decode(),
            )
        )()
        if form == "url":
            value = self.some(WORD + "!", r.randrange(6, 16))
            scheme, host = r.choice(
                (
                    ("postgres", "db.acme.io/x"),
                    ("https", "git.uni-bonn.de/a.git"),
                    ("ftp", "ftp.web.de/"),
                    ("amqp", "mq.startup.io:5672"),
                    ("redis", "cache.acme.net:6379/0"),
                )
            )
            return self.case("secret", value, form, f"{scheme}://app:{{}}@{host}")
        shapes = {
            "assigned": r.choice(('api_key = "{}"', "const apiSecret = '{}';", '$password = "{}";', 'client_secret: "{}",', 'os.environ["AUTH_TOKEN"] = "{}"', "accessToken = '{}'")),
            "env": r.choice(("export SECRET_KEY={}", "AWS_SECRET_ACCESS_KEY={}", "DB_PASSWORD={}", "SLACK_TOKEN={}\n")), "yaml": r.choice(("  password: {}", "api_key: {}", "token: '{}'")),
            "json": r.choice(('{"access_token": "{}"}', '"private_key_secret":"{}"', '{"apiKey":"{}"}')), "bearer": "Authorization: Bearer {}",
        }  # fmt: skip
        return self.case("secret", value, form, shapes[form])

    def negative(self):
        """A sentence without personal data that looks as if it had some."""
        r = self.random
        n = r.randrange
        forms = {
            "isbn": lambda: f"ISBN 978-{n(10)}-{n(10, 99)}-{n(100000, 999999)}-{n(10)}, {n(2000, 2024)}", "isbn bare": lambda: f"ISBN 978{self.some(DIGITS, 10)}",
            "order": lambda: f"Order no. {self.some(DIGITS, r.choice((8, 10, 12, 14)))} was shipped.", "invoice": lambda: f"Rechnung RE-{n(2019, 2025)}-{self.some(DIGITS, 6)}",
            "version": lambda: f"{r.choice(('version', 'Version:', 'v', 'release', 'Build', 'firmware', 'upgraded to version'))} {n(1, 20)}.{n(20)}.{n(20)}.{n(1, 300)} is out",
            "agent": lambda: f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{n(60, 130)}.0.{n(1, 250)}.{n(1, 200)} Safari/537.36",
            "package": lambda: f"libfoo{n(1, 9)}_{n(9)}.{n(20)}.{n(20)}.{n(9)}-{n(9)}ubuntu{n(9)}_amd64.deb and foo=={n(1, 9)}.{n(9)}.{n(9)}.{n(1, 99)}",
            "section": lambda: f"see section {n(1, 20)}.{n(1, 20)}.{n(1, 20)}.{n(1, 20)} below", "heading": lambda: f"\n{n(3, 20)}.{n(1, 20)}.{n(1, 20)}.{n(1, 20)}. Results of the trial\n",
            "oid": lambda: f"1.3.6.1.4.1.{n(9999)}.{n(99)} and 2.5.4.{n(1, 90)}", "private ip": lambda: f"ping 192.168.{n(256)}.{n(256)}, 10.{n(256)}.{n(256)}.{n(256)}, 127.0.0.1, fe80::1",
            "netmask": lambda: f"netmask 255.255.{n(256)}.0, network 198.51.100.{n(1, 255)}", "date": lambda: f"{n(1, 29):02d}.{n(1, 13):02d}.{n(1950, 2025)} and {n(1950, 2025)}-{n(1, 13):02d}-{n(1, 29):02d} {n(24):02d}:{n(60):02d}:{n(60):02d}",
            "dates": lambda: f"Open {n(1, 29):02d}/{n(1, 13):02d}/{n(2000, 2025)} - {n(1, 29):02d}/{n(1, 13):02d}/{n(2000, 2025)}", "stamp": lambda: f"at {n(10**9, 2 * 10**9)}{n(1000):03d} (epoch), {n(2000, 2025)}{n(1, 13):02d}{n(1, 29):02d}{n(24):02d}{n(60):02d}{n(60):02d}",
            "coordinates": lambda: f"{r.uniform(-90, 90):.6f}, {r.uniform(-180, 180):.6f} and {n(90)}°{n(60)}'{n(60)}\"N", "float": lambda: f"pi is {r.random() * 10:.15f}, x = {r.random():.16f}",
            "scientific": lambda: f"{r.random():.8e} {n(1, 9)}.{self.some(DIGITS, 6)}E+{n(10, 30)} +{n(1, 9)}.{self.some(DIGITS, 10)}", "md5": lambda: f"md5sum: {self.some(HEX, 32)}  file.tar.gz",
            "sha": lambda: f"commit {self.some(HEX, 40)}\nsha256:{self.some(HEX, 64)}", "sri": lambda: f'integrity="sha384-{self.some(WORD + "+/", 64)}"',
            "uuid": lambda: f"id {self.some(HEX, 8)}-{self.some(HEX, 4)}-4{self.some(HEX, 3)}-a{self.some(HEX, 3)}-{self.some(HEX, 12)}", "mac": lambda: ":".join(self.some(HEX, 2) for _ in range(6)) + " and 2001-" + "-".join(self.some(HEX, 2) for _ in range(6)),
            "fingerprint": lambda: "SHA1 " + ":".join(self.some(HEX, 2).upper() for _ in range(20)), "serial": lambda: f"S/N {self.some(UPPER, 2)}{self.some(DIGITS, 10)}{self.some(UPPER, 2)}",
            "literal": lambda: f"x = {n(10**15, 10**16)}; y = 0x{self.some(HEX, 16)}; z = [{n(10**9)}, {n(10**9)}]", "seed": lambda: f"rng = default_rng({self.some('456', 1)}{self.some(DIGITS, 15)})",
            "ports": lambda: f"ports 80, 443, 8080-8090, {n(1024, 65535)}/tcp", "time": lambda: f"{n(24):02d}:{n(60):02d}:{n(60):02d}.{n(1000):03d} --> 20{n(24):02d}:{n(60):02d}",
            "price": lambda: f"$ {n(1, 999)},{n(1000):03d},{n(1000):03d}.{n(100):02d} or {n(1, 999)}.{n(1000):03d}.{n(1000):03d},{n(100):02d} EUR", "decorator": lambda: "@app.route('/x')\ndef f(self): return a@b.T + w@x.shape",
            "retina": lambda: f"icon@{n(2, 4)}x.png sprite-{n(99)}@2x.jpg", "npm": lambda: f"npm i react@{n(18)}.{n(9)}.{n(9)} @types/node@{n(20)}.{n(9)}.{n(30)}", "handle": lambda: f"by @{r.choice(FIRST)}.{r.choice(LAST)} on 5 May",
            "remote": lambda: f"git clone git@github.com:acme/{r.choice(LAST)}.git; ssh://git@git.acme.io/x", "scope": lambda: "std::vector<a::b> x[1::2]; 2abc::def", "doi": lambda: f"doi:10.{n(1000, 9999)}/{self.some(LOWER, 4)}.{n(2000, 2024)}.{self.some(DIGITS, 7)}",
            "arxiv": lambda: f"arXiv:{n(10, 25):02d}{n(1, 13):02d}.{self.some(DIGITS, 5)}v{n(1, 9)}, ISSN {self.some(DIGITS, 4)}-{self.some(DIGITS, 4)}", "card": lambda: f"No. {_not_luhn('4' + self.some(DIGITS, 15))} of the list",
            "iban": lambda: f"Ref DE00 {self.some(DIGITS, 4)} {self.some(DIGITS, 4)} {self.some(DIGITS, 4)} {self.some(DIGITS, 4)} {self.some(DIGITS, 2)}", "ean": lambda: f"EAN {self.some(DIGITS, 13)}, GTIN 0{self.some(DIGITS, 13)}",
            "password words": lambda: f'password = "{r.choice(("correct horse battery", "changeme", "your-password-here", "${DB_PASSWORD}"))}"', "token name": lambda: r.choice(("token = os.environ['GITHUB_TOKEN_2024']", "tokenizer = 'Qwen/Qwen2-7B-Instruct'", "token_url: https://auth.acme.io/oauth2/v2/token", "secret_name: prod-database-2024-eu-west-1")),
            "paging": lambda: f'"NextToken": "{self.some(WORD, 40)}"', "digest": lambda: f"password_hash = '{self.some(HEX, 40)}'\netag: \"{self.some(HEX, 32)}\"", "public key": lambda: f"-----BEGIN PUBLIC KEY-----\n{self.some(WORD, 64)}\n-----END PUBLIC KEY-----",
            "region": lambda: f"chr{n(1, 22)}:{n(10**6, 10**8)}-{n(10**6, 10**8)}", "image": lambda: f"data:image/png;base64,iVBOR{self.some(WORD + '+/', 80)}==", "table": lambda: "  ".join(f"{r.random() * 1000:.3f}" for _ in range(8)),
            "ints": lambda: " ".join(str(n(10, 100000)) for _ in range(10)), "years": lambda: f"{n(1900, 2000)}-{n(2000, 2025)}, pp. {n(100, 999)}-{n(100, 999)}, vol. {n(99)}({n(12)})", "score": lambda: f"won {n(9)}-{n(9)}, {n(100, 999)}-{n(100, 999)}, {n(9)}.{n(9)}.{n(9)}",
            "example": lambda: "jane@example.com, root@localhost, me@test and https://user:password@proxy.example.com:3128/", "arpa": lambda: f"{n(256)}.{n(256)}.{n(256)}.{n(256)}.in-addr.arpa PTR", "css": lambda: f"#{self.some(HEX, 6)} @media (max-width: {n(999)}px) @import url",
            "stock": lambda: f"Artikel-Nr. {self.some(DIGITS, 3)}.{self.some(DIGITS, 3)}.{self.some(DIGITS, 2)}, Teil {self.some(DIGITS, 4)} {self.some(DIGITS, 4)}", "isni": lambda: f"ISNI 0000 0001 {self.some(DIGITS, 4)} {self.some(DIGITS, 4)}", "orcid": lambda: f"https://orcid.org/0000-000{n(1, 3)}-{self.some(DIGITS, 4)}-{self.some(DIGITS, 4)}",
        }  # fmt: skip
        form = r.choice(list(forms))
        return Case(forms[form](), (), form)


def cases(count, seed=1):
    """`count` cases of each kind, three times as many without personal data."""
    planter = Planter(seed)
    makers = [planter.email, planter.ip, planter.phone, planter.card, planter.iban, planter.secret]
    return [make() for _ in range(count) for make in makers] + [planter.negative() for _ in range(3 * count)]


def measure(planted, config=None):
    """Finds what is planted.

    Returns:
        For each kind: planted, found, and false alarms; and what was missed and wrongly found, as (form, kind, text).
        A value counts as found when one span of its kind covers it whole.
    """
    counts, mistakes = {}, []
    spans = {
        row: (text, found) for row, text, found in found_in(pa.array([c.text for c in planted]), config or PiiConfig())
    }
    for row, case in enumerate(planted):
        text, found = spans.get(row, (case.text.encode(), []))
        open_spans = [(span.kind, text[span.start : span.stop].decode()) for span in found]
        for kind, value in case.planted:
            tally = counts.setdefault(kind, Counter())
            tally["planted"] += 1
            hit = next((each for each in open_spans if each[0] == kind and value in each[1]), None)
            tally["found"] += hit is not None
            if hit is None:
                mistakes.append(("missed", case.form, kind, case.text))
            else:
                open_spans.remove(hit)
        for kind, value in open_spans:
            counts.setdefault(kind, Counter())["false alarms"] += 1
            mistakes.append(("false alarm", case.form, kind, f"{value!r} in {case.text}"))
    return counts, mistakes


def _luhn(digits):
    values = [int(d) for d in reversed(digits)]
    return sum(v if i % 2 == 0 else v * 2 - 9 * (v > 4) for i, v in enumerate(values)) % 10 == 0


def _not_luhn(digits):
    return next(digits[:-1] + d for d in DIGITS if not _luhn(digits[:-1] + d))


def _url64(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
