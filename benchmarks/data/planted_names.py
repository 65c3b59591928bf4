# ruff: noqa: E501 — whole lines of text are the data here
"""Sentences with planted names of people, and sentences with things that are written like names.

Sentences come in two parts, one to train a model on and one to measure it on. They share no template, and no name of a
person, place, company or product: Faker's lists are halved by the hash of the entry. The same seed gives the same
sentences on every machine.
"""

from __future__ import annotations

import hashlib
import importlib
import random
from typing import Any, NamedTuple

LOCALES = {
    "en": "en_US", "de": "de_DE", "fr": "fr_FR", "es": "es_ES", "it": "it_IT", "nl": "nl_NL", "ru": "ru_RU",
    "zh": "zh_CN", "ja": "ja_JP",
}  # fmt: skip
# Language: templates to train on, templates to measure on. {n} is a name; {p} place, {m} month, {c} company, {x} product.
TEMPLATES = {
    "en": (
        ("{n} was born in {p} in {m}.", "The letter was signed by {n} and {n}.", "Ask {n} about the {x}, or write to {c}.", "Dr. {n} works for {c} in {p}.", "Photo: {n}", "according to {n}, who left {c} last {m}", "The {x} that {n} bought in {p} is broken.", "Many thanks to {n} for the review!"),
        ("Posted by {n} on 5 {m}", "My neighbour {n} drives a {x}.", "\"We never met,\" said {n}, a teacher from {p}.", "{n} ({c}) replied to {n}:", "The case of {n} v. {c} was heard in {p}."),
    ),
    "de": (
        ("{n} wurde im {m} in {p} geboren.", "Der Brief ist von {n} und {n} unterschrieben.", "Fragen Sie {n} nach dem {x} oder schreiben Sie an {c}.", "Frau {n} arbeitet bei {c} in {p}.", "Foto: {n}", "Wie {n} sagte, kam der {x} im {m}."),
        ("Geschrieben von {n} am 5. {m}", "Mein Nachbar {n} fährt einen {x}.", "Herzlichen Dank an {n} aus {p} für die Hilfe!", "{n} ({c}) antwortete {n}:"),
    ),
    "fr": (
        ("{n} est née à {p} en {m}.", "La lettre est signée par {n} et {n}.", "Demandez le {x} à {n}, ou écrivez à {c}.", "M. {n} travaille chez {c} à {p}.", "Crédit photo : {n}"),
        ("Publié par {n} le 5 {m}", "Ma voisine {n} conduit une {x}.", "Un grand merci à {n}, professeur à {p} !"),
    ),
    "es": (
        ("{n} nació en {p} en {m}.", "La carta está firmada por {n} y {n}.", "Pregunte a {n} por el {x} o escriba a {c}.", "El señor {n} trabaja en {c}, en {p}.", "Foto: {n}"),
        ("Publicado por {n} el 5 de {m}", "Mi vecina {n} conduce un {x}.", "Muchas gracias a {n}, profesor de {p}."),
    ),
    "it": (
        ("{n} è nata a {p} in {m}.", "La lettera è firmata da {n} e {n}.", "Chieda il {x} a {n} o scriva a {c}.", "Il signor {n} lavora per {c} a {p}."),
        ("Pubblicato da {n} il 5 {m}", "La mia vicina {n} guida una {x}.", "Grazie mille a {n}, insegnante di {p}!"),
    ),
    "nl": (
        ("{n} werd in {m} in {p} geboren.", "De brief is ondertekend door {n} en {n}.", "Vraag {n} naar de {x} of schrijf aan {c}.", "Meneer {n} werkt bij {c} in {p}."),
        ("Geplaatst door {n} op 5 {m}", "Mijn buurman {n} rijdt in een {x}.", "Veel dank aan {n} uit {p}!"),
    ),
    "ru": (
        ("{n} и {n} подписали письмо.", "Как сообщает {n}, {x} купили в {m}.", "Директор {c} — {n}.", "Фото: {n}"),
        ("Автор: {n}, 5 {m}", "Наш сосед {n} купил {x}.", "{n} ({p}) благодарит {c}."),
    ),
    "zh": (
        ("{n}在{p}出生。", "这封信由{n}和{n}签名。", "{n}在{c}工作。", "摄影：{n}"),
        ("作者：{n}，5{m}", "我的邻居{n}开{x}。", "感谢{p}的{n}老师。"),
    ),
    "ja": (
        ("{n}は{p}で生まれた。", "{n}さんと{n}さんが署名した。", "{c}の{n}氏によると", "写真：{n}"),
        ("投稿者：{n}、5{m}", "隣の{n}さんは{x}に乗っている。", "{p}の{n}先生に感謝します。"),
    ),
}  # fmt: skip
# Without any name of a person; the first ones put other things where a name would stand.
OTHERS = {
    "en": (
        ("Ask {c} about the {x}, or write to {p}.", "The letter was signed by {c} and {c}.", "{p} was in the news in {m}.", "Photo: {p}", "according to {c}, which left {p} last {m}", "Many thanks to {c} for the {x}!", "The {x} by {c} is sold in {p} since {m}.", "See Chapter 3, Table 2 and the Terms of Service.", "Trains from {p} to {p} run until {m}.", "Read the User Guide of the {x}."),
        ("In {m}, {c} moved from {p} to {p}.", "Download the {x} Manual (PDF).", "Welcome to {p}: Museums, Parks and Hotels", "The Board of {c} met on Monday.", "Contact Us | Privacy Policy | {c}", "Posted in {p} on 5 {m}", "The case of {c} v. {c} was heard in {p}."),
    ),
    "de": (
        ("Fragen Sie {c} nach dem {x} oder schreiben Sie an {c}.", "Der Brief ist von {c} unterschrieben.", "Foto: {p}", "Wie {c} mitteilte, kam der {x} im {m}.", "Der {x} von {c} wird seit {m} in {p} verkauft.", "Die Bahn fährt von {p} nach {p}.", "Siehe Kapitel 3 und die Allgemeinen Bedingungen."),
        ("Im {m} zog {c} von {p} nach {p}.", "Das Handbuch zum {x} liegt der Sendung bei.", "Geschrieben in {p} am 5. {m}", "Herzlichen Dank an {c} für den {x}!"),
    ),
    "fr": (
        ("Demandez le {x} à {c}, ou écrivez à {c}.", "La lettre est signée par {c}.", "Crédit photo : {c}", "Le {x} de {c} est vendu à {p} depuis {m}.", "Voir le chapitre 3 et les Conditions Générales."),
        ("En {m}, {c} a quitté {p} pour {p}.", "Télécharger le manuel du {x}.", "Publié à {p} le 5 {m}", "Un grand merci à {c} pour le {x} !"),
    ),
    "es": (
        ("Pregunte a {c} por el {x}.", "La carta está firmada por {c}.", "Foto: {p}", "El {x} de {c} se vende en {p} desde {m}.", "Véase el capítulo 3 de las Condiciones."),
        ("En {m}, {c} se mudó de {p} a {p}.", "Descargar el manual del {x}.", "Publicado en {p} el 5 de {m}", "Muchas gracias a {c} por el {x}."),
    ),
    "it": (
        ("Chieda il {x} a {c} o scriva a {c}.", "La lettera è firmata da {c}.", "Il {x} di {c} è in vendita a {p} da {m}.", "Foto: {p}"),
        ("In {m} {c} lasciò {p} per {p}.", "Scarica il manuale del {x}.", "Pubblicato a {p} il 5 {m}", "Grazie mille a {c} per il {x}!"),
    ),
    "nl": (
        ("Vraag {c} naar de {x} of schrijf aan {c}.", "De brief is ondertekend door {c}.", "De {x} van {c} is sinds {m} te koop in {p}.", "Foto: {p}"),
        ("In {m} verhuisde {c} van {p} naar {p}.", "Download de handleiding van de {x}.", "Geplaatst in {p} op 5 {m}", "Veel dank aan {c} voor de {x}!"),
    ),
    "ru": (
        ("Письмо подписали {c} и {c}.", "Фото: {p}", "Как сообщает {c}, {x} купили в {p}.", "{c} продаёт {x}: {p}, {m}."),
        ("Поезд {p} — {p}.", "Руководство: {x}", "Автор: {c}, 5 {m}", "{c} ({p}) благодарит {c}."),
    ),
    "zh": (("{c}在{p}销售{x}。", "这封信由{c}签名。", "摄影：{p}", "{c}在{p}成立。"), ("从{p}到{p}的火车。", "{x}使用手册", "作者：{c}，5{m}", "感谢{p}的{c}。")),
    "ja": (("{c}は{p}で{x}を販売している。", "{c}が署名した。", "写真：{p}", "{p}は{m}に"), ("{p}から{p}までの電車。", "{x}の説明書", "投稿者：{c}、5{m}", "{p}の{c}に感謝します。")),
}  # fmt: skip
_ENGLISH_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                   "November", "December")  # fmt: skip


class Planted(NamedTuple):
    """A text, where the names in it are, and its language."""

    text: str
    names: tuple[tuple[int, int], ...]
    language: str

    def row(self) -> dict[str, Any]:
        """As `headwater data model train names` reads it."""
        return {"text": self.text, "names": [list(name) for name in self.names]}


def planted(count: int, seed: int, part: int) -> list[Planted]:
    """Sentences, six in ten with names.

    Args:
        count: Of each language.
        seed: Of everything random.
        part: 0 to train on, 1 to measure on.
    """
    draw = random.Random(f"{seed}, {part}")
    lists = {language: _Lists(locale, part) for language, locale in LOCALES.items()}
    return [_sentence(draw, language, part, lists[language]) for _ in range(count) for language in LOCALES]


class _Lists:
    """Half of Faker's lists of a language."""

    def __init__(self, locale: str, part: int) -> None:
        def half(provider: str, *names: str, default: tuple[str, ...] = ()) -> list[str]:
            source: Any = importlib.import_module(f"faker.providers.{provider}.{locale}").Provider
            listed: Any = next((found for name in names if (found := getattr(source, name, None))), default)
            values = {str(value) for value in (listed.values() if names[0] == "MONTH_NAMES" and listed else listed)}
            return sorted(v for v in values if hashlib.sha256(v.encode()).digest()[0] % 2 == part)

        self.unspaced = locale in ("zh_CN", "ja_JP")
        self.first, self.last = half("person", "first_names"), half("person", "last_names")
        self.places = [*half("address", "countries"), *half("address", "cities", "city_names")[:300]]
        words = half("lorem", "word_list")
        self.words = [word for word in words if len(word) > (1 if self.unspaced else 3)]
        self.months = list(_ENGLISH_MONTHS) if locale == "en_US" else half("date_time", "MONTH_NAMES")
        self.suffixes = half("company", "company_suffixes") or ["Ltd", "Inc"]


def _sentence(draw: random.Random, language: str, part: int, lists: _Lists) -> Planted:
    group = TEMPLATES if draw.random() < 0.6 else OTHERS
    template = draw.choice(group[language][part])
    text, place = "", 0
    found: list[tuple[int, int]] = []
    while (start := template.find("{", place)) >= 0:
        text += template[place:start]
        value = _value(draw, template[start + 1], lists)
        if template[start + 1] == "n":
            found.append((len(text), len(text) + len(value)))
        text, place = text + value, start + 3
    return Planted(text + template[place:], tuple(found), language)


def _value(draw: random.Random, slot: str, lists: _Lists) -> str:
    match slot:
        case "p":
            return draw.choice(lists.places)
        case "m":
            return draw.choice(lists.months)
        case "x":
            return draw.choice(lists.words).title() + draw.choice(("", "", f" {draw.randrange(2, 900)}"))
        case "c":
            word = draw.choice(lists.words).title()
            return word + (draw.choice(lists.suffixes) if lists.unspaced else f" {draw.choice(lists.suffixes)}")
        case _:
            return _name(draw, lists)


def _name(draw: random.Random, lists: _Lists) -> str:
    first, last = draw.choice(lists.first), draw.choice(lists.last)
    if lists.unspaced:
        return last + first
    other = draw.choice(lists.first)
    forms = (f"{first} {other[0]}. {last}", f"{first[0]}. {last}", last, first, f"{first} {last.upper()}", f"{first}-{other} {last}")  # fmt: skip
    return draw.choice((*[f"{first} {last}"] * 5, *forms))
