"""Wiki pages to text: prose, headings and lists; no templates, references, tables, files or categories."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from headwater.data.operators.extractors.by_type import MediawikiConfig, Unusable

_REDIRECT = re.compile(r"\s*#[^\s\[]{3,30}\s*:?\s*\[\[")  # the word differs between languages, its form does not
_DROPPED_TAGS = frozenset(("ref", "references", "gallery", "timeline", "score", "syntaxhighlight", "source", "graph",
                           "imagemap", "mapframe", "maplink", "templatestyles", "style", "script", "hiero", "chem",
                           "indicator", "section", "categorytree", "inputbox"))  # fmt: skip
# Links into these namespaces are pictures and categories, no words of the text; the larger wikis' own names.
_DROPPED_LINKS = re.compile(
    r"\s*(?:file|image|category|media|datei|bild|kategorie|fichier|catégorie|archivo|imagen|categoría|ficheiro|categoria"
    r"|imagem|immagine|bestand|afbeelding|categorie|plik|kategoria|файл|изображение|категория|файл|категорія|ファイル"
    r"|画像|カテゴリ|文件|檔案|分类|分類|파일|분류|ملف|تصنيف|קובץ|קטגוריה|fil|tiedosto|luokka|soubor|dosya|kategori)\s*:",
    re.IGNORECASE,
)
_INTERWIKI = re.compile(r"\s*[a-z]{2,3}(?:-[a-z]+)?:")


def extract(payload: bytes, config: MediawikiConfig) -> str:
    """The title and the text of a `<page>` element of an export (mediawiki.org/xml/export-0.11).

    Raises:
        Unusable: redirect, not_an_article, parse_error.
    """
    title, namespace, model, redirect, wikitext = page_of(payload)
    if redirect or _REDIRECT.match(wikitext):
        raise Unusable("redirect", title[:200])
    if namespace not in config.namespaces:
        raise Unusable("not_an_article", f"namespace {namespace}: {title[:200]}")
    if model not in ("", "wikitext"):
        raise Unusable("not_an_article", f"content model {model[:40]}")
    import mwparserfromhell

    out: list[str] = []
    _render(mwparserfromhell.parse(wikitext), out, config.tables)
    text = "\n".join(line.strip() for line in "".join(out).split("\n")).strip()
    return f"{title}\n\n{text}" if text else ""


def page_of(payload: bytes) -> tuple[str, int, str, bool, str]:
    """Title, namespace, content model, whether it is a redirect, and the wikitext of the latest revision.

    Raises:
        Unusable: parse_error, when it is no XML.
    """
    etree: Any = import_module("lxml.etree")  # compiled, and without annotations
    parser: Any = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        page: Any = etree.fromstring(payload, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Unusable("parse_error", f"XML: {str(error).partition(' (<string>')[0][:200]}") from error
    title, namespace, model, redirect, text = "", 0, "", False, ""
    for element in page.iter():
        name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
        if name == "title":
            title = element.text or ""
        elif name == "ns" and (element.text or "").strip().lstrip("-").isdecimal():
            namespace = int((element.text or "0").strip()[:9])
        elif name == "redirect":
            redirect = True
        elif name == "model":
            model = (element.text or "").strip()
        elif name == "text":
            text = element.text or ""  # revisions are in the order of time
    return title, namespace, model, redirect, text


def _render(code: Any, out: list[str], tables: bool) -> None:
    for node in code.nodes:
        match type(node).__name__:
            case "Text":
                out.append(str(node.value))
            case "Wikilink":
                target = str(node.title)
                if not _DROPPED_LINKS.match(target) and not (_INTERWIKI.match(target) and node.text is None):
                    _render(node.text, out, tables) if node.text is not None else out.append(target.lstrip(":"))
            case "ExternalLink":
                if node.title is not None:
                    _render(node.title, out, tables)
                elif not node.brackets:
                    out.append(str(node.url))
            case "Heading":
                out.append("\n")
                _render(node.title, out, tables)
                out.append("\n")
            case "HTMLEntity":
                out.append(node.normalize())
            case "Tag":
                _tag(node, out, tables)
            case _:  # templates, their arguments, comments
                pass


def _tag(node: Any, out: list[str], tables: bool) -> None:
    name = str(node.tag).strip().lower()
    if name == "math":
        out.append(f"${node.contents}$")
    elif name in ("br", "hr"):
        out.append("\n")
    elif name in _DROPPED_TAGS or (name == "table" and not tables):
        return
    elif name in ("li", "dt", "dd") and node.wiki_markup:
        out.append("-" if name == "li" and (not out or out[-1].endswith("\n")) else "")
    elif node.contents is not None:
        _render(node.contents, out, tables)
        out.append("\n" if name in ("td", "th", "tr", "p", "div", "table") else "")
