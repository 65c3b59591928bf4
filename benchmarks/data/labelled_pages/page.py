"""The writer of a page: everything goes through `main` or `noise`, which is how the truth is known."""

from __future__ import annotations

import html
import random
from dataclasses import dataclass

from labelled_pages.sentences import RIGHT_TO_LEFT, full_stop, sentences, subjects

_NOISE = {
    "en": "home|about us|contact|subscribe|log in|share this|related stories|read more|terms of use|privacy|next page|"
          "most popular|add to basket|newsletter|archive|cookie settings|back to top|advertisement",
    "de": "Startseite|über uns|Kontakt|abonnieren|anmelden|teilen|mehr zum Thema|weiterlesen|Nutzungsbedingungen|"
          "Datenschutz|nächste Seite|meistgelesen|Archiv|Anzeige",
    "fr": "accueil|à propos|contact|s'abonner|connexion|partager|à lire aussi|lire la suite|mentions légales|"
          "confidentialité|page suivante|les plus lus|archives|publicité",
    "es": "inicio|quiénes somos|contacto|suscribirse|entrar|compartir|noticias relacionadas|leer más|aviso legal|"
          "privacidad|siguiente|lo más leído|archivo|publicidad",
    "ru": "главная|о нас|контакты|подписаться|войти|поделиться|читайте также|подробнее|условия|архив|реклама",
    "el": "αρχική|σχετικά|επικοινωνία|εγγραφή|σύνδεση|κοινοποίηση|διαβάστε επίσης|όροι|αρχείο|διαφήμιση",
    "ar": "الرئيسية|من نحن|اتصل بنا|اشترك|دخول|شارك|اقرأ أيضا|المزيد|الشروط|الأرشيف|إعلان",
    "he": "דף הבית|אודות|צור קשר|הרשמה|כניסה|שתף|קרא עוד|תנאים|ארכיון|פרסומת",
    "ja": "ホーム|会社案内|お問い合わせ|登録|ログイン|共有|関連記事|続きを読む|利用規約|アーカイブ|広告",
    "zh": "首页|关于我们|联系方式|订阅|登录|分享|相关文章|阅读更多|使用条款|存档|广告",
    "ko": "홈|회사 소개|문의|구독|로그인|공유|관련 기사|더 보기|이용 약관|보관함|광고",
    "hi": "मुख्य पृष्ठ|हमारे बारे में|संपर्क|सदस्यता|लॉग इन|साझा करें|और पढ़ें|नियम|संग्रह|विज्ञापन",
}  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """A page, and its main content in the order of the page; empty for pages that have none."""

    kind: str
    name: str
    language: str
    html: str
    truth: str


class Writer:
    """Writes one page.

    Args:
        kind: What kind of page it is.
        number: Of the page in its kind; decides everything random.
        language: Of its text.
    """

    def __init__(self, kind: str, number: int, language: str = "en") -> None:
        self.kind, self.number, self.language = kind, number, language
        self.draw = random.Random(f"{kind} {number} {language}")
        self._unused = sentences(language)
        self.draw.shuffle(self._unused)
        self._truth: list[str] = []

    def prose(self, count: int) -> str:
        """A few sentences, none of which is used twice on the page."""
        stop = full_stop(self.language)
        taken = [self._unused.pop() for _ in range(count)]
        return "".join(sentence + stop for sentence in taken).strip()

    def title(self) -> str:
        """A line without a full stop."""
        return self._unused.pop()

    def main(self, tag: str, text: str, attributes: str = "") -> str:
        """An element with main content."""
        self._truth.append(text)
        return f"<{tag}{attributes and ' ' + attributes}>{html.escape(text, quote=False)}</{tag.split()[0]}>"

    def bare(self, text: str) -> str:
        """Main content without an element of its own."""
        self._truth.append(text)
        return html.escape(text, quote=False)

    def noise(self, tag: str, text: str | None = None, attributes: str = "") -> str:
        """An element that is no main content: a word of a menu, unless the text is given."""
        words = text if text is not None else self.draw.choice(_NOISE[self.language].split("|"))
        return f"<{tag}{attributes and ' ' + attributes}>{html.escape(words, quote=False)}</{tag}>"

    def links(self, count: int, around: str = "li") -> str:
        """Links, each in an element (or in none)."""
        names = [*_NOISE[self.language].split("|"), *subjects(self.language)]
        opened, closed = (f"<{around}>", f"</{around}>") if around else ("", " ")
        return "".join(
            f'{opened}<a href="/{number}">{html.escape(self.draw.choice(names))}</a>{closed}' for number in range(count)
        )

    def paragraphs(self, count: int, least: int = 2, most: int = 5) -> list[str]:
        """Main paragraphs."""
        return [self.main("p", self.prose(self.draw.randint(least, most))) for _ in range(count)]

    def page(self, body: str, head: str = "", doctype: str = "<!DOCTYPE html>\n") -> Labelled:
        """The finished page."""
        direction = ' dir="rtl"' if self.language in RIGHT_TO_LEFT else ""
        text = (
            f'{doctype}<html lang="{self.language}"{direction}><head><meta charset="utf-8"><title>'
            f"{html.escape(self._truth[0] if self._truth else self.kind)}</title>{head}</head>{body}</html>"
        )
        return Labelled(self.kind, f"{self.kind} {self.number}", self.language, text, "\n".join(self._truth))
