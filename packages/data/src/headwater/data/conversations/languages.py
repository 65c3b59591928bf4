"""Whether a prompt may want an answer in another language: it speaks of translation, or names a language."""

from __future__ import annotations

import re

_TRANSLATION = (
    r"translat|übersetz|tradui|traduc|traduz|traduc|tradur|vertal|vertaal|przetłumacz|tłumacz|перевод|перевед|çevir|翻译|翻訳"
    r"|译成|번역|ترجم|अनुवाद|dịch|terjemah|переклад|μετάφρα|översätt|oversett|oversæt|käännä|přelož|fordít|language\b"
)
_LANGUAGES = (
    r"english|french|german|spanish|italian|portuguese|dutch|russian|chinese|mandarin|cantonese|japanese|korean|arabic"
    r"|hindi|bengali|urdu|turkish|polish|ukrainian|czech|slovak|hungarian|romanian|bulgarian|greek|hebrew|persian|farsi"
    r"|swedish|norwegian|danish|finnish|icelandic|latin|thai|vietnamese|indonesian|malay|tagalog|swahili|catalan|welsh"
    r"|irish|esperanto|tamil|telugu|serbian|croatian"
    r"|englisch|deutsch|französisch|spanisch|italienisch|russisch|chinesisch|japanisch|anglais|français|allemand|espagnol"
    r"|italien|russe|chinois|japonais|inglés|francés|alemán|español|italiano|ruso|chino|japonés|inglês|francês|alemão"
    r"|espanhol|inglese|francese|tedesco|spagnolo|engels|frans|duits|spaans|angielsk|niemieck|francusk|английск|немецк"
    r"|французск|испанск|русск|ingilizce|almanca|fransızca|英语|英文|中文|汉语|法语|德语|日语|韩语|俄语|西班牙语|英語|中国語"
    r"|フランス語|ドイツ語|日本語|韓国語|영어|중국어|일본어|한국어|프랑스어|الإنجليزية|العربية|الفرنسية"
)
_EITHER = re.compile(f"{_TRANSLATION}|{_LANGUAGES}", re.IGNORECASE)
_LOOKED_AT = 4_000


def asks_for_another(prompt: str) -> bool:
    """Whether the beginning or the end of a prompt speaks of translation or names a language."""
    return any(_EITHER.search(part) for part in (prompt[:_LOOKED_AT], prompt[-_LOOKED_AT:]))
