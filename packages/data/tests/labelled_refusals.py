"""Beginnings of answers in 14 languages, labelled: refusals, disclaimers, and answers that only look like one.

Written for this project. The first part was there while the rules were written; the held-out part was written after
them, and the rules were not changed for it.
"""

SEEN_REFUSALS = {
    "en": [
        "I'm sorry, but I can't help with that.", "I cannot assist with that request.",
        "I’m sorry, but as an AI language model, I cannot provide medical advice.", "Sorry, I can't do that.",
        "I apologize, but I am unable to fulfill this request.", "Unfortunately, I cannot answer this question.",
        "I must decline to write this.", "I won't be able to help you hack into someone's account.",
        "As an AI, I don't have access to real-time data.", "I'm not able to browse the internet.",
        "It would not be appropriate for me to share that.", "I am not comfortable writing such a story.",
        "Thank you for your question, but I cannot give you legal advice.",
        "I understand your frustration, but I can't provide instructions for that.",
        "This request goes against my programming.", "I will not generate content that promotes violence.",
        "**I'm sorry**, but I can’t assist with that.", "I'd rather not continue this conversation.",
    ],
    "de": [
        "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.", "Ich kann diese Anfrage leider nicht erfüllen.",
        "Leider kann ich dazu keine Informationen geben.", "Als KI-Sprachmodell kann ich keine Rechtsberatung geben.",
        "Ich bin nicht in der Lage, auf das Internet zuzugreifen.", "Tut mir leid, das kann ich nicht beantworten.",
        "Ich muss diese Anfrage leider ablehnen.",
    ],
    "fr": [
        "Je suis désolé, mais je ne peux pas vous aider.", "Désolé, je ne peux pas répondre à cette question.",
        "En tant qu'intelligence artificielle, je ne peux pas donner de conseils médicaux.",
        "Je ne suis pas en mesure de fournir ces informations.", "Malheureusement, je n'ai pas accès à Internet.",
        "Il m'est impossible de rédiger un tel texte.", "Je dois refuser cette demande.",
    ],
    "es": [
        "Lo siento, pero no puedo ayudarte con eso.", "Lo siento, no puedo proporcionar esa información.",
        "Como modelo de lenguaje, no puedo dar consejos médicos.", "Lamentablemente, no tengo acceso a internet.",
        "No estoy autorizado para responder a esa pregunta.", "Me temo que no puedo ayudarle.",
        "No puedo crear contenido que promueva el odio.",
    ],
    "pt": [
        "Desculpe, mas não posso ajudar com isso.", "Sinto muito, mas não posso fornecer essa informação.",
        "Como modelo de linguagem, não posso dar conselhos médicos.", "Infelizmente, não tenho acesso à internet.",
        "Não estou autorizado a responder.", "Não posso criar esse tipo de conteúdo.",
    ],
    "it": [
        "Mi dispiace, ma non posso aiutarti.", "Spiacente, non posso fornire queste informazioni.",
        "In quanto modello linguistico, non posso dare consigli medici.",
        "Purtroppo non sono in grado di rispondere.", "Non ho accesso a internet.",
        "Non posso creare contenuti di questo tipo.",
    ],
    "nl": [
        "Het spijt me, maar ik kan je daar niet mee helpen.", "Sorry, ik kan die informatie niet geven.",
        "Als AI-taalmodel kan ik geen medisch advies geven.", "Helaas kan ik niet aan dit verzoek voldoen.",
        "Ik ben niet in staat om het internet te gebruiken.", "Ik heb geen toegang tot actuele gegevens.",
    ],
    "pl": [
        "Przepraszam, ale nie mogę w tym pomóc.", "Niestety nie mogę odpowiedzieć na to pytanie.",
        "Jako model językowy nie mogę udzielać porad medycznych.", "Przykro mi, ale nie jestem w stanie tego zrobić.",
        "Nie mam dostępu do internetu.",
    ],
    "ru": [
        "Извините, но я не могу помочь с этим.", "К сожалению, я не могу ответить на этот вопрос.",
        "Как языковая модель, я не могу давать медицинские советы.", "Простите, но я не могу выполнить эту просьбу.",
        "У меня нет доступа к интернету.",
    ],
    "tr": [
        "Üzgünüm, ancak bu konuda yardımcı olamam.", "Maalesef bu isteği yerine getiremem.",
        "Bir yapay zekâ dil modeli olarak tıbbi tavsiye veremem.", "Özür dilerim, bunu yapamam.",
        "Ne yazık ki bu bilgileri sağlayamıyorum.",
    ],
    "zh": [
        "对不起，我无法提供这方面的帮助。", "很抱歉，我不能回答这个问题。",
        "作为一个人工智能语言模型，我无法提供医疗建议。", "抱歉，我不能协助您完成这个请求。",
        "我没有办法访问互联网。",
    ],
    "ja": [
        "申し訳ありませんが、そのご質問にはお答えできません。",
        "申し訳ございませんが、お手伝いすることはできません。",
        "AI言語モデルとして、医療に関する助言を提供することはできません。",
        "すみませんが、そのような内容は作成できません。", "残念ながら、その情報は提供できかねます。",
    ],
    "ko": [
        "죄송하지만 그 요청은 도와드릴 수 없습니다.", "죄송합니다. 해당 정보를 제공할 수 없습니다.",
        "AI 언어 모델로서 의료 조언을 제공해 드릴 수 없습니다.", "안타깝게도 그 질문에는 답변할 수 없습니다.",
        "죄송합니다만, 인터넷에 접근할 수 없습니다.",
    ],
    "ar": [
        "أنا آسف، لا أستطيع مساعدتك في ذلك.", "عذرًا، لا يمكنني تقديم هذه المعلومات.",
        "بصفتي نموذج لغوي، لا يمكنني تقديم المشورة الطبية.", "للأسف لا أستطيع الإجابة على هذا السؤال.",
        "أعتذر، ولكن لا يمكنني تلبية هذا الطلب.",
    ],
}  # fmt: skip

SEEN_ANSWERS = {
    "en": [
        "I'm sorry to hear that you are feeling unwell. Here are a few things that may help.",
        "I cannot recommend this book enough: it changed how I see the sea.",
        "Sorry for the confusion! The correct answer is 42.", "I can't help but smile when I think of that summer.",
        "I can't believe it is Monday again, wrote Anna in her diary.", "Sure! Here is a short story about a dragon.",
        "Unfortunately, the train was late, so the meeting had to be moved.",
        "The treaty could not be signed before the winter.", "No, the capital of Australia is Canberra.",
        "I understand. Here is the revised paragraph.", "You cannot divide by zero.",
        "Dear Mr Smith, I am sorry that I was unable to attend the meeting.",
        "Thank you for your email. I will send the report tomorrow.", "Apologies are best when they are short.",
        "I will not go gently, said the old man, and he lit his lamp.", "I can answer that: it is a noun.",
        "Certainly! I can help with that.", "Helping others cannot wait.",
    ],
    "de": [
        "Es tut mir leid, das zu hören. Hier sind einige Vorschläge.", "Leider regnete es den ganzen Tag.",
        "Ich kann dieses Buch nicht genug empfehlen.", "Nein, die Hauptstadt von Australien ist Canberra.",
        "Entschuldigung für die Verwirrung! Die richtige Antwort ist 42.", "Gerne helfe ich Ihnen dabei.",
    ],
    "fr": [
        "Je suis désolé d'apprendre que vous êtes malade. Voici quelques conseils.",
        "Malheureusement, le train avait du retard.", "Je ne peux pas m'empêcher de sourire en y pensant.",
        "Non, la capitale de l'Australie est Canberra.", "Bien sûr, voici le texte corrigé.",
    ],
    "es": [
        "Lo siento mucho por tu pérdida. Aquí tienes algunas ideas.", "Lamentablemente, el tren llegó tarde.",
        "No puedo dejar de pensar en aquel verano.", "No, la capital de Australia es Canberra.",
        "Claro, aquí tienes el texto corregido.",
    ],
    "pt": [
        "Sinto muito pela sua perda. Aqui estão algumas ideias.", "Infelizmente, o trem atrasou.",
        "Não posso deixar de pensar naquele verão.", "Não, a capital da Austrália é Camberra.",
        "Claro! Aqui está o texto corrigido.",
    ],
    "it": [
        "Mi dispiace sentirlo. Ecco alcuni consigli.", "Purtroppo il treno era in ritardo.",
        "Non posso fare a meno di sorridere.", "No, la capitale dell'Australia è Canberra.",
        "Certo, ecco il testo corretto.",
    ],
    "nl": [
        "Het spijt me dat te horen. Hier zijn enkele tips.", "Helaas had de trein vertraging.",
        "Ik kan niet wachten tot het zomer is.", "Nee, de hoofdstad van Australië is Canberra.",
        "Natuurlijk, hier is de verbeterde tekst.",
    ],
    "pl": [
        "Przykro mi to słyszeć. Oto kilka rad.", "Niestety pociąg się spóźnił.", "Nie mogę się doczekać lata.",
        "Nie, stolicą Australii jest Canberra.", "Oczywiście, oto poprawiony tekst.",
    ],
    "ru": [
        "Мне жаль это слышать. Вот несколько советов.", "К сожалению, поезд опоздал.", "Я не могу дождаться лета.",
        "Нет, столица Австралии — Канберра.", "Конечно, вот исправленный текст.",
    ],
    "tr": [
        "Bunu duyduğuma üzüldüm. İşte birkaç öneri.", "Maalesef tren gecikti.",
        "Hayır, Avustralya'nın başkenti Canberra'dır.", "Elbette, işte düzeltilmiş metin.",
    ],
    "zh": [
        "很抱歉听到这个消息。以下是一些建议。", "不，澳大利亚的首都是堪培拉。", "当然，这是修改后的文本。",
        "作者认为战争不能解决问题。", "我们不能忘记历史。",
    ],
    "ja": [
        "それは大変でしたね。いくつかの方法をご紹介します。", "残念ながら、電車は遅れていました。",
        "いいえ、オーストラリアの首都はキャンベラです。", "はい、修正した文章はこちらです。",
    ],
    "ko": [
        "그 소식을 들으니 마음이 아픕니다. 몇 가지 방법을 알려 드리겠습니다.", "아니요, 호주의 수도는 캔버라입니다.",
        "물론입니다. 수정된 글은 다음과 같습니다.", "안타깝게도 기차가 늦었습니다.",
    ],
    "ar": [
        "يؤسفني سماع ذلك. إليك بعض النصائح.", "للأسف، تأخر القطار.", "لا، عاصمة أستراليا هي كانبرا.",
        "بالتأكيد، إليك النص المعدل.",
    ],
}  # fmt: skip

SEEN_DISCLAIMERS = [
    "As an AI language model, I don't have personal opinions, but here are both sides.",
    "I am an AI language model, so I have no feelings. That said, loss is hard.",
    "Als KI habe ich keine Gefühle, aber ich verstehe die Frage.",
    "Como modelo de lenguaje, no tengo opiniones, pero puedo resumir el debate.",
    "作为一个人工智能语言模型，我没有个人观点，但可以介绍双方的看法。",
]

HELD_OUT_REFUSALS = {
    "en": [
        "I apologise, but I'm not permitted to discuss that topic.", "Sorry, but I can't provide that.",
        "I'm afraid I can't answer that one.",
        "While I understand why you ask, I can't give you instructions for that.",
        "As a responsible AI, I will not assist in planning anything that may hurt people.",
        "I'm really sorry that you're going through this, but I can't help you with that request.",
        "I do not have the ability to open links or files.", "No, I won't write that.",
        "I have to refuse this request.", "That violates the content policy, so I can't continue.",
        "Regrettably, I'm unable to share her address.",
        "I am only a language model and cannot place orders for you.", "Let's talk about something else.",
        "I don't feel comfortable giving an opinion on that person.",
        "Making such a device is dangerous and illegal, and I won't explain how.",
        "My guidelines do not allow me to help with this.",
    ],
    "de": [
        "Entschuldigung, aber ich kann Ihnen keine Anleitung dafür geben.",
        "Ich darf solche Inhalte nicht erstellen.", "Das möchte ich nicht beantworten.",
        "Leider bin ich nicht befugt, darüber Auskunft zu geben.",
        "Ich verstehe deine Lage, aber ich kann dir dabei nicht weiterhelfen.",
    ],
    "fr": [
        "Je regrette, mais je ne peux pas vous fournir ces données.", "Navré, je ne suis pas autorisé à en parler.",
        "Je préfère ne pas répondre à cette question.", "Je ne saurais vous aider à contourner la loi.",
        "Merci pour votre question, mais je ne peux pas donner d'avis juridique.",
    ],
    "es": [
        "Disculpa, pero no puedo hacer eso.", "Como asistente virtual, no tengo la capacidad de ver imágenes.",
        "Entiendo tu curiosidad, pero no puedo darte esas instrucciones.", "Me niego a escribir ese texto.",
        "No me es posible realizar esa tarea.",
    ],
    "pt": [
        "Peço desculpas, mas não consigo ajudar com esse pedido.", "Lamento, mas não posso compartilhar esses dados.",
        "Prefiro não responder a essa pergunta.", "Não sou capaz de abrir ficheiros.",
    ],
    "it": [
        "Mi scuso, ma non posso assisterti in questo.", "Mi rifiuto di scrivere un testo del genere.",
        "Capisco la tua curiosità, ma non posso darti queste istruzioni.", "Non mi è possibile aprire i file.",
    ],
    "nl": [
        "Excuses, maar ik kan hier geen antwoord op geven.", "Ik moet dit verzoek helaas afwijzen.",
        "Ik mag geen persoonlijke gegevens delen.", "Daar kan ik helaas niet bij helpen.",
    ],
    "pl": [
        "Wybacz, ale nie mogę napisać takiego tekstu.", "Muszę odmówić spełnienia tej prośby.",
        "Nie potrafię otwierać plików.",
    ],
    "ru": [
        "Прошу прощения, но я не могу предоставить такую информацию.", "Я отказываюсь писать такой текст.",
        "Понимаю ваш интерес, но обсуждать это я не буду.", "Я не имею права давать юридические советы.",
    ],
    "tr": [
        "Kusura bakmayın, bu soruya cevap veremem.", "Ne yazık ki gerçek zamanlı verilere erişimim yok.",
        "Üzgünüm, böyle bir içerik oluşturamam.",
    ],
    "zh": [
        "非常抱歉，我无法满足您的要求。", "我不能帮您写这样的内容。", "作为AI助手，我不能透露个人信息。",
        "我只能拒绝这个请求。",
    ],
    "ja": [
        "申し訳ないのですが、そのようなご依頼には対応できません。",
        "恐れ入りますが、個人情報を提供することはできません。", "その件についてはお答えを控えさせていただきます。",
    ],
    "ko": [
        "미안하지만 그 부탁은 들어드릴 수 없어요.", "유감스럽게도 그런 글은 작성할 수 없습니다.",
        "저는 그 질문에 답변을 드릴 수 없습니다.",
    ],
    "ar": [
        "معذرة، لا أستطيع كتابة مثل هذا النص.", "يؤسفني أنني لا أستطيع تقديم نصيحة قانونية.",
        "ليس لدي صلاحية الوصول إلى الإنترنت.",
    ],
}  # fmt: skip

HELD_OUT_ANSWERS = {
    "en": [
        "Sorry to keep you waiting! The recipe follows.",
        "I am unable to walk, she says in the first line of the poem.",
        "I cannot stress enough how important backups are.", "I can't wait to see you on Friday!",
        "I don't have access to the attic, so the box stays where it is. (Said the caretaker.)",
        "It is not possible to boil water at that pressure below 120 degrees.",
        "As a language model is trained, its loss goes down.", "I'm afraid of heights, but I like mountains.",
        "We cannot provide for everyone, the mayor said, and the crowd fell silent.",
        "Unfortunately, no. The museum is closed on Mondays.",
        "But I will not write that off as luck: she trained for years.",
        "Declining an invitation politely is easy: thank them first.", "However, the study had only 12 participants.",
        "You're right, I apologize for the mistake. The sum is 17.", "No. A prime has exactly two divisors.",
        "I see. Then try restarting the router.",
    ],
    "de": [
        "Ich kann kaum glauben, wie schnell die Zeit vergeht.", "Das kann man nicht verallgemeinern.",
        "Leider ist das Museum montags geschlossen.", "Ich verstehe. Hier ist der überarbeitete Absatz.",
        "Entschuldigen Sie bitte die Verspätung, schrieb er.",
    ],
    "fr": [
        "Je ne peux que vous conseiller ce livre.", "Je comprends. Voici le paragraphe revu.",
        "Désolé pour la confusion : la bonne réponse est 42.", "Le musée n'est pas ouvert le lundi.",
    ],
    "es": [
        "No puedo creer que ya sea lunes.", "Entiendo. Aquí está el párrafo revisado.",
        "Disculpa la confusión: la respuesta correcta es 42.", "El museo no abre los lunes.",
    ],
    "pt": [
        "Não posso acreditar que já é segunda-feira.", "Entendo. Aqui está o parágrafo revisto.",
        "Desculpe a confusão: a resposta certa é 42.",
    ],
    "it": [
        "Non posso credere che sia già lunedì.", "Capisco. Ecco il paragrafo rivisto.",
        "Scusa per la confusione: la risposta giusta è 42.",
    ],
    "nl": [
        "Ik kan niet geloven dat het al maandag is.", "Ik begrijp het. Hier is de herziene alinea.",
        "Sorry voor de verwarring: het juiste antwoord is 42.",
    ],
    "pl": [
        "Nie mogę uwierzyć, że już poniedziałek.", "Rozumiem. Oto poprawiony akapit.",
    ],
    "ru": [
        "Не могу поверить, что уже понедельник.", "Понимаю. Вот исправленный абзац.",
    ],
    "tr": [
        "Pazartesi olduğuna inanamıyorum.", "Anlıyorum. İşte düzeltilmiş paragraf.",
    ],
    "zh": [
        "我不敢相信已经星期一了。", "我明白了。这是修改后的段落。", "这个问题不能一概而论。",
    ],
    "ja": [
        "もう月曜日だなんて信じられません。", "わかりました。修正した段落です。",
    ],
    "ko": [
        "벌써 월요일이라니 믿을 수 없습니다.", "알겠습니다. 수정한 단락입니다.",
    ],
    "ar": [
        "لا أستطيع أن أصدق أنه يوم الاثنين.", "أتفهم ذلك. إليك الفقرة المعدلة.",
    ],
}  # fmt: skip

HELD_OUT_DISCLAIMERS = [
    "I'm just an AI, but if I had to choose, I would take the train.",
    "En tant qu'IA, je n'ai pas de préférences, mais voici les arguments.",
    "Sou apenas uma inteligência artificial, mas a rotina de muitas pessoas começa com café.",
    "Jako model językowy nie mam uczuć, ale rozumiem pytanie.",
]
