"""The languages that fastText's lid.176 tells apart: the labels of the model, with their English names.

The codes are those of the Wikipedias that the model was trained on: ISO 639-1 where there is one, else ISO 639-3.
"""

from __future__ import annotations

from headwater.core.config import NotValid, nearest

_TABLE = """
af Afrikaans, als Alemannic, am Amharic, an Aragonese, ar Arabic, arz Egyptian Arabic, as Assamese, ast Asturian, av
Avaric, az Azerbaijani, azb South Azerbaijani, ba Bashkir, bar Bavarian, bcl Central Bikol, be Belarusian, bg
Bulgarian, bh Bihari, bn Bengali, bo Tibetan, bpy Bishnupriya, br Breton, bs Bosnian, bxr Buryat, ca Catalan, cbk
Chavacano, ce Chechen, ceb Cebuano, ckb Central Kurdish, co Corsican, cs Czech, cv Chuvash, cy Welsh, da Danish, de
German, diq Zazaki, dsb Lower Sorbian, dty Dotyali, dv Divehi, el Greek, eml Emilian-Romagnol, en English, eo
Esperanto, es Spanish, et Estonian, eu Basque, fa Persian, fi Finnish, fr French, frr Northern Frisian, fy Western
Frisian, ga Irish, gd Scottish Gaelic, gl Galician, gn Guarani, gom Goan Konkani, gu Gujarati, gv Manx, he Hebrew, hi
Hindi, hif Fiji Hindi, hr Croatian, hsb Upper Sorbian, ht Haitian Creole, hu Hungarian, hy Armenian, ia Interlingua,
id Indonesian, ie Interlingue, ilo Iloko, io Ido, is Icelandic, it Italian, ja Japanese, jbo Lojban, jv Javanese, ka
Georgian, kk Kazakh, km Khmer, kn Kannada, ko Korean, krc Karachay-Balkar, ku Kurdish, kv Komi, kw Cornish, ky Kyrgyz,
la Latin, lb Luxembourgish, lez Lezghian, li Limburgish, lmo Lombard, lo Lao, lrc Northern Luri, lt Lithuanian, lv
Latvian, mai Maithili, mg Malagasy, mhr Eastern Mari, min Minangkabau, mk Macedonian, ml Malayalam, mn Mongolian, mr
Marathi, mrj Western Mari, ms Malay, mt Maltese, mwl Mirandese, my Burmese, myv Erzya, mzn Mazanderani, nah Nahuatl,
nap Neapolitan, nds Low German, ne Nepali, new Newari, nl Dutch, nn Norwegian Nynorsk, no Norwegian, oc Occitan, or
Odia, os Ossetic, pa Punjabi, pam Pampanga, pfl Palatine German, pl Polish, pms Piedmontese, pnb Western Punjabi, ps
Pashto, pt Portuguese, qu Quechua, rm Romansh, ro Romanian, ru Russian, rue Rusyn, sa Sanskrit, sah Yakut, sc
Sardinian, scn Sicilian, sco Scots, sd Sindhi, sh Serbo-Croatian, si Sinhala, sk Slovak, sl Slovenian, so Somali, sq
Albanian, sr Serbian, su Sundanese, sv Swedish, sw Swahili, ta Tamil, te Telugu, tg Tajik, th Thai, tk Turkmen, tl
Tagalog, tr Turkish, tt Tatar, tyv Tuvinian, ug Uyghur, uk Ukrainian, ur Urdu, uz Uzbek, vec Venetian, vep Veps, vi
Vietnamese, vls West Flemish, vo Volapük, wa Walloon, war Waray, wuu Wu Chinese, xal Kalmyk, xmf Mingrelian, yi
Yiddish, yo Yoruba, yue Cantonese, zh Chinese
"""
_ENTRIES = (entry.split(maxsplit=1) for entry in _TABLE.split(","))
LANGUAGES: dict[str, str] = {code: " ".join(name.split()) for code, name in _ENTRIES}
"""Code → English name."""


def language_code(value: object) -> object:
    """The value, if it is the code of a language that the model knows.

    Raises:
        NotValid: It is not; names the code that was most likely meant.
    """
    if value in LANGUAGES:
        return value
    near = _meant(value) if isinstance(value, str) else None
    hint = f"did you mean {near} ({LANGUAGES[near]})?" if near else None
    if value is False:
        hint = 'write "no" in quotes for Norwegian: YAML takes a bare no for false'
    raise NotValid(
        "a language code of lid.176: ISO 639-1, or ISO 639-3 where there is none, such as en, de, ja, ceb", hint
    )


def _meant(value: str) -> str | None:
    """The code for a name, a region's variant (`en-US`), a longer code (`eng`), or a slip of the pen."""
    lower = value.strip().lower()
    primary = lower.replace("_", "-").partition("-")[0]
    if primary in LANGUAGES:
        return primary
    codes = {name.lower(): code for code, name in LANGUAGES.items()}
    begun = [name for name in codes if len(lower) > 2 and name.startswith(lower)]
    if begun:
        return codes[min(begun, key=len)]
    if len(lower) == 3 and lower[:2] in LANGUAGES:
        return lower[:2]
    name = nearest(lower, codes) if len(lower) > 3 else None
    return codes[name] if name else nearest(lower, LANGUAGES)
