"""Words around an answer: names and beginnings of sentences that may stand before it, and what may follow it.

The lists are closed. A sentence that is not among them is not read, so a negation, a doubt or a question, in whatever
language, is no answer without being looked for.
"""

import re

_NOUN = (
    r"(?:answer|label|category|class|classification|intent(?:ion)?|topic|sentiment|tag|type|queue|result|output|choice"
    r"|option|prediction|decision|verdict|response|conclusion|rating|score|grade|emotion|language|department|priority|domain"
    r"|genre|stance|assistant|antwort|kategorie|klasse|etikett|thema|r[ée]ponse|cat[ée]gorie|classe|[ée]tiquette"
    r"|respuesta|categor[íi]a|clase|etiqueta|resposta|categoria|risposta|etichetta|antwoord|categorie|svar|kategori"
    r"|odpowied[źz]|kategoria|cevap|ответ|категория|класс|метка|答案|回答|类别|分类|标签|類別|分類|標籤|カテゴリー?"
    r"|ラベル|答え|정답|답변|답|라벨|카테고리)"
)
_DOUBT = (
    r"(?:not?|non|never|neither|nor|none|nothing|without|except|excluding|excluded|unless|if|whether|either|or|possibl[ey]"
    r"|potential|candidate|maybe|perhaps|could|can|may|might|other|another|alternative|second|secondary|wrong|incorrect"
    r"|invalid|bad|false|rejected|previous|unlikely|least|impossible|instead|rather|cannot|example|sample|only|any|which"
    r"|what|one|allowed|available|valid|\w+n['’]t)"
)
_WORD = rf"(?!{_DOUBT}\b)[\w'’-]+"
_POLITE = r"(?:sure(?: thing)?|okay|ok|certainly|of course|absolutely|alright|great|understood|got it|here you go)"
_BEFORE = (
    rf"(?:{_POLITE}[,.!:]*\s+"
    r"|(?:therefore|thus|so|hence|finally|overall|in (?:conclusion|summary|short)|final)[,:]?\s+"
    rf"|based on (?:{_WORD}\s+){{0,7}}{_WORD},\s+|here(?:'s|’s| is| you go:?)\s+)*"
)
_NAME = rf"(?:(?:{_WORD}\s+){{0,5}}?{_NOUN}(?:\s+(?:of|for|to|in|that)(?:\s+{_WORD}){{1,6}}?)?)"
_LINK = r"\s*(?:(?:is|would be|should be|will be|が|は|是|为|為)\s*[:,]?|[:=→]|[-=]>)\s*"
_TEXT = (
    r"(?:message|text|e-?mail|mail|ticket|review|sentence|tweet|comment|post|request|question|query|input|document"
    r"|article|utterance|statement|content|example|item|issue|case|inquiry|enquiry|passage)"
)
_THIS = rf"(?:(?:this|the)\s+(?:{_WORD}\s+)?{_TEXT}|this|it|that)"
_VERB = (
    r"(?:(?:(?:should|would|can) be |is )(?:best )?(?:label+ed|classified|categori[sz]ed|tagged)(?: as:?)?"
    r"|(?:should|would|can) be|is about|is|’s|'s|belongs (?:in|to)|falls (?:under|into|in))"
)
_SAYS = (
    r"(?:i(?:'d|’d|'ll|’ll)?|we)\s+(?:would\s+|will\s+|have\s+)?(?:best\s+)?(?:say|choose|chose|pick|select|classify|classified"
    r"|categori[sz]e|label|go with|answer|predict|think|believe|assign)"
)
_PREFIX = re.compile(
    rf"{_BEFORE}(?:{_NAME}{_LINK}|(?:option|choice|answer|label|category|class)\s+(?=\S)"
    rf"|{_THIS}\s*{_VERB}\s+(?:as\s+)?|{_SAYS}\s+(?:(?:{_THIS}|{_NAME})\s+(?:(?:is|as|to)\s+)?|that\s+)?(?:as\s+|it\s+is\s+)?)",
    re.IGNORECASE,
)
_INTERJECTION = re.compile(
    r"(?:sure(?: thing)?|okay|ok|certainly|of course|absolutely|alright|great|understood|got it)[,.!:]+\s+",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    rf"(?:(?:an?|the|most likely|probably|likely|clearly|definitely|labell?ed|called)\s+)*(?:the\s+)?(?:{_NOUN}\s+)?",
    re.IGNORECASE,
)
_NOUN_AFTER = re.compile(rf"\s+(?:{_NOUN})\s*[.!]?\s*\Z", re.IGNORECASE)
_CONNECTIVE = re.compile(
    r"(?:because|since|as|due|for|given|so|which|where|the|this|that|these|those|they|he|she|it|i|we|you|their|his|her|its"
    r"|my|customers?|users?|senders?|writers?|authors?|messages?|texts?|someone)\b",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    r"[\s\"'(\[]*(?:(?:no|not|none|nope|nah|neither|nor|or|and|but|however|unless|if|except|without|wrong|incorrect"
    r"|false|unlikely|impossible|maybe|perhaps|possibly|isn['’]?t|is not|doesn['’]?t|does not|cannot|can['’]t|n/a|nein"
    r"|nicht|kein|keine|non|pas|нет|не|oder|ou|или|vs)\b|[/&+?]|\d+(?:[.,]\d+)?\s*%?\s*(?:\Z|[,;.)\n])|不|否|没)",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"\bsorry\b|\bunable to\b|\b(?:cannot|can['’]?t|can not|could not|couldn['’]?t)\s+(?:\w+\s+)?(?:answer|help|tell"
    r"|say|determine|decide|classify|assist|provide)\b|\b(?:not sure|unsure|don['’]?t know|do not know|unclear)\b",
    re.IGNORECASE,
)
_SHORT_TEXT = 200
NEGATION = re.compile(
    r"\b(?:not|no|never|neither|nor|none|cannot|without|except|instead of|wrong|incorrect|false|nicht|kein\w*)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)


def after_prefix(text: str) -> str | None:
    """Return what follows a name or the beginning of a sentence that announces an answer; None where none stands."""
    found = _PREFIX.match(text) or _INTERJECTION.match(text)
    return text[found.end() :] if found and found.end() else None


def after_article(text: str) -> str:
    """Return a text without articles and such words as "most likely" before it."""
    found = _ARTICLE.match(text)
    return text[found.end() :] if found else text


def before_noun(text: str) -> str:
    """Return a text without a last word such as "category"."""
    return _NOUN_AFTER.sub("", text) if len(text) < _SHORT_TEXT else text


def is_explanation(separator: str, rest: str) -> bool:
    """Return whether what follows an answer and a separator explains it, and does not take it back or add another."""
    if _TAKES_BACK.match(rest) or _REFUSES.search(rest) or rest.rstrip(" \"')].").endswith("?"):
        return False
    return separator != "," or bool(_CONNECTIVE.match(rest))
