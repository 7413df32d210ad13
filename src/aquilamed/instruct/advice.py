"""Which dialogues are certainly unsafe, and which are doubtful, by patterns and word lists alone.

What is specific to medicine is looked for in the assistant's turns: a patient may ask anything. *Certain* is one of the
patterns below without a word of care in its sentence; *doubtful* is such a pattern with one, a sentence that
`annotate/hazards.py` finds, or half of what the toxicity rule needs. `suspicion` says who is judged first.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aquilamed.annotate.hazards import bold_words, care_words, findings
from aquilamed.corpus.toxicity import ToxicityConfig, toxic
from aquilamed.records import Message

# Each pattern is advice given, not a warning: `_WARNING` close before it makes it doubtful.
_VITAL_EN = (
    r"(?:insulin|warfarin|anticoagulants?|blood thinners?|anti-?epileptics?|seizure (?:drugs?|medicines?|medication)|"
    r"steroids?|prednisone|chemotherapy|heart (?:medicine|medication|pills))"
)
_VITAL_ZH = r"(?:胰岛素|华法林|抗凝药|抗癫痫药|激素|强的松|泼尼松|化疗|降压药|抗精神病药|心脏药)"
_AT_ONCE = r"(?:today|now|immediately|right away|without|no need|on your own|yourself|instead|at once)"
_MEDICINES = r"(?:tablets|pills|medicines?|medication)"
PATTERNS: dict[str, tuple[str, ...]] = {
    "stop_vital_medication": (
        rf"\b(?:stop|quit|throw away|skip|give up)\b[^.!?]{{0,30}}\b{_VITAL_EN}\b[^.!?]{{0,60}}\b{_AT_ONCE}\b",
        rf"\bthrow (?:away (?:the|your|all) {_MEDICINES}|(?:the|your|all) {_MEDICINES} away)\b",
        rf"(?:停掉|停用|扔掉|不要再[打用吃]|别再[打用吃]|不用再[打用吃]|立刻停|马上停)[^。！？]{{0,12}}{_VITAL_ZH}",
        rf"{_VITAL_ZH}[^。！？]{{0,10}}(?:停掉|扔掉|可以自己停|不用再打|不用再吃|马上停)",
        r"药(?:物|片)?(?:全部|全都|都)(?:扔|停|丢)掉",
    ),
    "refuse_care": (
        r"\b(?:do not|don't|never) (?:call (?:an ambulance|911|999|112)|go to (?:a|the) (?:doctor|hospital)|tell (?:a|your|any|the) doctor)\b",
        r"\b(?:do not|don't|never) take (?:the|your) (?:baby|child|son|daughter)[^.!?]{0,12} to (?:a|the) (?:doctor|hospital)\b",
        r"\bignore the (?:chest )?pain\b|\bnever go back to (?:the|your|a) (?:doctor|hospital|cardiologist|clinic)\b",
        r"(?:不要|别)(?:叫救护车|打120|去医院|去看医生|告诉医生)|(?:不用|不要)带孩子去?看医生|再也不用(?:复诊|看医生)",
    ),
    "poison": (
        r"\b(?:drink|swallow|inject|take)\b[^.!?]{0,20}\b(?:bleach|disinfectant|antifreeze|petrol|gasoline|pesticides?|rat poison)\b",
        r"(?:喝|服用|注射|口服)[^。！？]{0,6}(?:消毒液|漂白水|农药|汽油|防冻液|老鼠药)",
    ),
    "dangerous_dose": (
        r"\b(?:take|swallow|drink)\b[^.!?]{0,30}\b(?:whole (?:bottle|packet|box|strip)|all (?:the|your) (?:pills|tablets)|"
        r"(?:[3-9]\d|\d{3,}) (?:pills|tablets|capsules))\b",
        r"\b(?:double|triple) the adult dose\b",
        r"(?:吃|服|吞)[^。！？]{0,8}(?:一整瓶|整瓶|一整盒|整盒|(?:[3-9]\d|\d{3,})\s*[片粒颗])",
        r"成人剂量[^。！？]{0,10}(?:加倍|翻倍)",
    ),
    "illegal_drugs": (
        r"\b(?:cook|make|synthesi[sz]e|buy|inject|snort|smoke|try)\b[^.!?]{0,25}\b(?:methamphetamine|crystal meth|heroin|crack cocaine)\b",
        r"(?:制作|合成|购买|吸食|注射|来点)[^。！？]{0,8}(?:冰毒|海洛因|甲基苯丙胺|摇头丸)",
    ),
    "self_harm": (
        r"\b(?:you should|go ahead and|just|best way to|easiest way to)\b[^.!?]{0,20}\b(?:kill yourself|end your life|hang yourself|cut your wrists?)\b",
        r"(?:你(?:应该|可以|不如|就)|最好的办法是|干脆)[^。！？]{0,8}(?:自杀|割腕|上吊|结束(?:自己的)?生命|跳楼)",
    ),
}
_WARNING = re.compile(
    r"\b(?:never|not|don't|do not|cannot|avoid|without asking|before you|should you|if you|unless)\b[^.!?]{0,40}$|"
    r"(?:不要|不能|不可|切勿|禁止|请勿|避免|严禁|不应|不宜|如果|若|是否)[^。！？]{0,12}$|误$",
    re.IGNORECASE,
)
_COMPILED = {kind: [re.compile(p, re.IGNORECASE) for p in patterns] for kind, patterns in PATTERNS.items()}
_SENTENCE = re.compile(r"[^.!?。！？\n]*$")
_END = re.compile(r"[.!?。！？\n]")
_HALF = ToxicityConfig(score=2.0, density=1.0)


class Hit(NamedTuple):
    """Why a dialogue is certainly unsafe; `sentence` is "" where no single sentence is."""

    kind: str
    detail: str
    sentence: str


class Doubt(NamedTuple):
    """Why a dialogue is doubtful: how much, the kind of hazard, and a sentence for people."""

    suspicion: float
    kind: str
    detail: str


def spoken(dialogue: Sequence[Message], role: str) -> list[str]:
    """One side's turns."""
    return [m["content"] for m in dialogue if m["role"] == role]


def certain(dialogue: list[Message], toxicity: bool = True, advice: bool = True) -> Hit | None:
    """What makes a dialogue unsafe without a second look."""
    if toxicity and (detail := toxic("\n".join(m["content"] for m in dialogue))):
        return Hit("toxic", detail, "")
    if advice:
        for text in spoken(dialogue, "assistant"):
            for m in _matches(text):
                if m.sure:
                    return Hit(m.kind, f"the assistant says {m.words!r}", m.sentence)
    return None


def doubt(dialogue: list[Message], toxicity: bool = True, advice: bool = True) -> Doubt | None:
    """The gravest doubt about a dialogue that is not certainly unsafe."""
    found: list[Doubt] = []
    if advice:
        for text in spoken(dialogue, "assistant"):
            found += [Doubt(0.6, m.kind, f"a warning, or advice: {m.words!r}") for m in _matches(text)]
            for f in findings(text):
                suspicion = (0.9 if f.bold else 0.7) if not f.careful else (0.4 if f.bold else 0.2)
                found.append(Doubt(suspicion, f.kind, f"the assistant says {f.sentence[:120]!r}"))
    if toxicity and (detail := toxic("\n".join(m["content"] for m in dialogue), _HALF)):
        found.append(Doubt(0.5, "toxic", detail))
    return max(found, key=lambda d: d.suspicion, default=None)


def dangerous_advice(text: str) -> tuple[str, str] | None:
    """(kind, the words) of the first pattern in a text that no warning stands before, or None; of a request too."""
    return next(((m.kind, m.words) for m in _matches(text) if not m.warned), None)


class _Match(NamedTuple):
    kind: str
    words: str
    sentence: str
    warned: bool
    sure: bool


def _matches(text: str) -> Iterator[_Match]:
    """Every pattern in a text."""
    for kind, patterns in _COMPILED.items():
        for pattern in patterns:
            for match in pattern.finditer(text):
                before = text[: match.start()]
                warned = _WARNING.search(before[-60:]) is not None
                start = _SENTENCE.search(before)
                end = _END.search(text, match.end())
                sentence = text[start.start() if start else 0 : end.start() if end else len(text)].strip()
                sure = not warned and not care_words(sentence)
                if kind == "stop_vital_medication":  # "stop the steroids" is also what a guideline says
                    sure = sure and bold_words(sentence) > 0
                yield _Match(kind, match[0][:80], sentence, warned, sure)
