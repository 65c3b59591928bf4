"""Sentences in twelve languages, put together from phrases that were written for this purpose."""

from __future__ import annotations

# language: (subjects, predicates, adverbials, order, full stop, direction)
_PHRASES: dict[str, tuple[str, str, str, str, str]] = {
    "en": (
        "the old bridge|a careful gardener|the ferry company|our neighbour's dog|the town council|an early train|"
        "the baker's apprentice|every second visitor|the retired captain|a small observatory",
        "has carried more people than anybody had planned|was repaired with timber from the upper valley|"
        "keeps a list of what the river brings down|does not open before the fog has lifted|"
        "was painted green in the year of the flood|has been promised new lamps|finds its way home without any help|"
        "asks for patience and a little rain|is said to be the oldest of its kind|will be moved to the other bank",
        "since the harbour was closed|on most days in the autumn|without anybody taking note of it|"
        "because the road is too narrow|in spite of what the newspapers wrote|before the first snow falls|"
        "as far as the records go back|while the children are at school|after a long debate about money|"
        "though the wind comes from the east", "{0} {1} {2}", ". "),
    "de": (
        "die alte Brücke|ein geduldiger Gärtner|die Fährgesellschaft|der Hund der Nachbarin|der Gemeinderat|"
        "die kleine Sternwarte",
        "wurde mit Holz aus dem oberen Tal ausgebessert|führt eine Liste über alles, was der Fluss bringt|"
        "öffnet nicht, ehe der Nebel sich gelichtet hat|soll die älteste ihrer Art sein|"
        "hat mehr Menschen getragen als geplant war|bekommt im nächsten Jahr neue Lampen",
        "seit der Hafen geschlossen ist|an den meisten Tagen im Herbst|ohne dass es jemand bemerkt|"
        "weil die Straße zu schmal ist|bevor der erste Schnee fällt|nach einer langen Debatte über Geld",
        "{0} {1}, {2}", ". "),
    "fr": (
        "le vieux pont|un jardinier patient|la compagnie des bacs|le chien de la voisine|le conseil municipal|"
        "le petit observatoire",
        "a porté plus de monde que prévu|tient une liste de ce que la rivière apporte|n'ouvre pas avant la fin du "
        "brouillard|serait le plus ancien de son genre|recevra de nouvelles lampes l'année prochaine|"
        "a été réparé avec du bois de la haute vallée",
        "depuis que le port est fermé|presque tous les jours en automne|sans que personne ne le remarque|"
        "parce que la route est trop étroite|avant la première neige|après un long débat sur l'argent",
        "{0} {1} {2}", ". "),
    "es": (
        "el viejo puente|un jardinero paciente|la compañía de barcas|el perro de la vecina|el ayuntamiento|"
        "el pequeño observatorio",
        "ha llevado a más gente de la prevista|guarda una lista de lo que trae el río|no abre antes de que se levante "
        "la niebla|es, según dicen, el más antiguo de su clase|tendrá lámparas nuevas el año que viene|"
        "fue reparado con madera del valle alto",
        "desde que se cerró el puerto|casi todos los días del otoño|sin que nadie se dé cuenta|"
        "porque el camino es demasiado estrecho|antes de la primera nevada|después de un largo debate sobre el dinero",
        "{0} {1} {2}", ". "),
    "ru": (
        "старый мост|терпеливый садовник|паромная компания|соседская собака|городской совет|маленькая обсерватория",
        "ведёт список всего, что приносит река|не открывается, пока не рассеется туман|стоит здесь дольше всех "
        "остальных|получит новые фонари в будущем году|видит больше людей, чем ожидали|ждёт досок из верхней долины",
        "с тех пор как закрыли порт|почти каждый день осенью|и никто этого не замечает|потому что дорога слишком узкая|"
        "до первого снега|после долгого спора о деньгах", "{0} {1}, {2}", ". "),
    "el": (
        "η παλιά γέφυρα|ένας υπομονετικός κηπουρός|η εταιρεία των πλοίων|ο σκύλος της γειτόνισσας|"
        "το δημοτικό συμβούλιο",
        "κρατά έναν κατάλογο με όσα φέρνει το ποτάμι|δεν ανοίγει πριν διαλυθεί η ομίχλη|λέγεται πως είναι από τα "
        "παλαιότερα στον τόπο|θα αποκτήσει νέα φώτα του χρόνου|βλέπει περισσότερο κόσμο από όσο περίμεναν",
        "από τότε που έκλεισε το λιμάνι|σχεδόν κάθε μέρα το φθινόπωρο|χωρίς να το προσέξει κανείς|"
        "επειδή ο δρόμος είναι πολύ στενός|πριν από το πρώτο χιόνι", "{0} {1} {2}", ". "),
    "ar": (
        "الجسر القديم|البستاني الصبور|شركة العبّارات|كلب الجيران|مجلس البلدة|المرصد الصغير",
        "يحتفظ بقائمة بكل ما يحمله النهر|لا يفتح قبل أن ينقشع الضباب|هو الأقدم من نوعه كما يقال|"
        "سيحصل على مصابيح جديدة في العام القادم|استقبل من الناس أكثر مما كان متوقعا|ينتظر الخشب من أعلى الوادي",
        "منذ أن أغلق الميناء|في معظم أيام الخريف|دون أن يلاحظ ذلك أحد|لأن الطريق ضيق جدا|قبل أول الثلوج|"
        "بعد نقاش طويل حول المال", "{0} {1} {2}", ". "),
    "he": (
        "הגשר הישן|גנן סבלני|חברת המעבורות|הכלב של השכנה|מועצת העיר|מצפה הכוכבים הקטן",
        "מנהל רשימה של כל מה שהנהר מביא|לא נפתח לפני שהערפל מתפזר|הוא העתיק מסוגו לפי השמועה|"
        "יקבל מנורות חדשות בשנה הבאה|ראה יותר אנשים ממה שתכננו|מחכה לעצים מן העמק העליון",
        "מאז שנסגר הנמל|ברוב ימי הסתיו|בלי שאיש ישים לב|כי הדרך צרה מדי|לפני השלג הראשון|אחרי ויכוח ארוך על כסף",
        "{0} {1} {2}", ". "),
    "ja": (
        "古い橋は|気の長い庭師は|渡し船の会社は|隣の家の犬は|町の議会は|小さな天文台は",
        "川が運んでくるものを書き留めている|霧が晴れるまで門を開けない|この種のものでは一番古いと言われている|"
        "来年には新しい街灯をもらう予定だ|思っていたより多くの人を見てきた|上流の谷から木材が届くのを待っている",
        "港が閉まってから|秋のほとんどの日に|誰にも気づかれないまま|道が狭すぎるので|初雪が降る前に|お金についての長い議論のあと",
        "{2}、{0}{1}", "。"),
    "zh": (
        "那座老桥|有耐心的园丁|渡轮公司|邻居家的狗|镇议会|小小的天文台",
        "记录着河水带来的一切东西|在雾散去之前不会开门|据说是同类中最古老的|明年会得到新的路灯|见过的人比计划的要多|"
        "正在等待上游山谷运来的木材",
        "自从港口关闭以后|在秋天的大多数日子里|在没有人注意的时候|因为道路太窄|在第一场雪之前|经过一场关于钱的漫长争论",
        "{2}，{0}{1}", "。"),
    "ko": (
        "오래된 다리는|참을성 많은 정원사는|나룻배 회사는|이웃집 개는|마을 의회는|작은 천문대는",
        "강물이 가져오는 것을 모두 적어 둔다|안개가 걷히기 전에는 문을 열지 않는다|"
        "같은 종류 가운데 가장 오래되었다고 한다|"
        "내년에 새 등불을 받을 것이다|예상보다 많은 사람을 보아 왔다|위쪽 골짜기에서 올 나무를 기다리고 있다",
        "항구가 닫힌 뒤로|가을의 거의 모든 날에|아무도 모르는 사이에|길이 너무 좁기 때문에|첫눈이 오기 전에|"
        "돈에 대한 긴 토론 끝에",
        "{2} {0} {1}", ". "),
    "hi": (
        "पुराना पुल|धैर्यवान माली|नाव की कंपनी|पड़ोसी का कुत्ता|नगर परिषद|छोटी वेधशाला",
        "नदी जो कुछ लाती है उसकी सूची रखती है|कोहरा छँटने से पहले नहीं खुलती है|अपनी तरह की सबसे पुरानी मानी जाती है|"
        "अगले साल नए दीपक पाने वाली है|उम्मीद से अधिक लोगों को देख चुकी है|ऊपरी घाटी से लकड़ी का इंतज़ार कर रही है",
        "जब से बंदरगाह बंद हुआ है|शरद ऋतु के अधिकतर दिनों में|बिना किसी के ध्यान दिए|क्योंकि सड़क बहुत संकरी है|"
        "पहली बर्फ़ से पहले|पैसे पर लंबी बहस के बाद", "{2} {0} {1}", "। "),
}  # fmt: skip

LANGUAGES = tuple(_PHRASES)
RIGHT_TO_LEFT = ("ar", "he")


def sentences(language: str) -> list[str]:
    """Every sentence that the phrases of a language make, in a fixed order, without its full stop."""
    subjects, predicates, adverbials, order, _ = _PHRASES[language]
    made = [
        order.format(subject, predicate, adverbial)
        for adverbial in adverbials.split("|")
        for predicate in predicates.split("|")
        for subject in subjects.split("|")
    ]
    return [each[0].upper() + each[1:] for each in made]


def subjects(language: str) -> list[str]:
    """Short phrases, for titles and menus."""
    return [each.capitalize() for each in _PHRASES[language][0].split("|")]


def full_stop(language: str) -> str:
    """What ends a sentence."""
    return _PHRASES[language][4]
