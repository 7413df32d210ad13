"""Stage instruct/safety: unsafe dialogues out, private information masked (paper, section 3, step 1).

Violence, bias and pornography go by the corpus' toxicity rule (lexicon weighed against medical context). What is specific
to medicine goes by the patterns below, on the *assistant's* turns: a patient may ask anything. Sexual-health and
end-of-life content is medicine and stays.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import partial

import polars as pl

from aquilamed.config import Config
from aquilamed.corpus.pii import mask_text
from aquilamed.corpus.toxicity import toxic
from aquilamed.engine import no_reason
from aquilamed.records import Message, read_parts
from aquilamed.stage import Context, Result

# Each pattern is advice given, not a warning: `_WARNING` close before it turns it into good counsel.
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
MaskText = Callable[[str], tuple[str, dict[str, int]]]


class SafetyConfig(Config):
    """Safety of the SFT set."""

    toxicity: bool = True
    """Drop dialogues that the toxicity rule calls toxic, whoever speaks."""
    advice: bool = True
    """Drop dialogues whose assistant gives dangerous advice."""
    mask_pii: bool = True
    """Replace private information by typed placeholders."""


def run(ctx: Context, config: SafetyConfig) -> Result:
    """Kept dialogues get `pii` (JSON counts of what was masked, null for nothing)."""
    ctx.flow(partial(check, config=config), "instruct/decontaminate", "safety")
    kept = read_parts(ctx.out / "kept", ["pii"])["pii"].drop_nulls()
    masked: Counter[str] = Counter()
    for counts in kept.to_list():
        masked.update(json.loads(counts))
    return Result({"masked_dialogues": kept.len(), "masked": dict(sorted(masked.items()))})


def check(frame: pl.DataFrame, config: SafetyConfig) -> pl.DataFrame:
    """The kernel: a reason per unsafe dialogue, masked messages for the others."""
    reasons: list[tuple[str, str] | None] = []
    messages: list[list[Message]] = []
    found: list[str | None] = []
    for dialogue in frame["messages"].to_list():
        reasons.append(unsafe(dialogue, config))
        counts: Counter[str] = Counter()
        clean: list[Message] = []
        for message in dialogue:
            text, hits = mask_text(message["content"]) if config.mask_pii else (message["content"], {})
            counts.update(hits)
            clean.append({"role": message["role"], "content": text})
        messages.append(clean)
        found.append(json.dumps(dict(sorted(counts.items()))) if counts else None)
    return no_reason(frame).with_columns(
        pl.Series("messages", messages, frame.schema["messages"]),
        pl.Series("pii", found, pl.String),
        pl.Series("reason", [r and r[0] for r in reasons], pl.String),
        pl.Series("detail", [r and r[1] for r in reasons], pl.String),
    )


def unsafe(dialogue: list[Message], config: SafetyConfig) -> tuple[str, str] | None:
    """(reason, detail) when the dialogue must not be trained on."""
    if config.toxicity and (detail := toxic("\n".join(m["content"] for m in dialogue))):
        return "safety.toxic", detail
    if config.advice:
        for message in dialogue:
            if message["role"] == "assistant" and (hit := dangerous_advice(message["content"])):
                return f"safety.{hit[0]}", f"the assistant says {hit[1]!r}"
    return None


def dangerous_advice(text: str) -> tuple[str, str] | None:
    """(kind, the words) of dangerous advice in an answer; the same words behind a warning are none."""
    for kind, patterns in _COMPILED.items():
        for pattern in patterns:
            for match in pattern.finditer(text):
                if not _WARNING.search(text[max(0, match.start() - 60) : match.start()]):
                    return kind, match[0][:80]
    return None
