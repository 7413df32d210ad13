"""Answers that refuse instead of helping, and requests that deserve it."""

import re

from aquilamed.corpus.toxicity import toxic
from aquilamed.instruct.advice import dangerous_advice

# A doctor who asks for an examination first is no refusal: a refusal declines the request itself, at its beginning, and
# says little else. An answer that says "as a language model I cannot diagnose" and then explains is none either.
_EN = re.compile(
    r"\bi(?:'m| am)? (?:really |very |so |truly )?(?:sorry|afraid),? (?:but )?(?:that )?i (?:can(?:no|')t|can not|won't|am (?:unable|not able) to)\b"
    r"|\b(?:i|we) (?:can(?:no|')t|can not|won't|will not|am unable to|am not able to|are unable to) "
    r"(?:help|assist|provide|give|offer|answer|comply|fulfil|discuss)\b"
    r"|\bas an? (?:ai|artificial intelligence|(?:large |ai )?language model|virtual assistant)\b[^.!?]{0,90}\b"
    r"(?:can(?:no|')t|can not|unable|not able|do not|don't|not qualified)\b"
    r"|\bi (?:must|have to) (?:decline|refuse)\b|\bi(?:'m| am) not (?:qualified|allowed|able|comfortable) (?:to )?\b",
    re.IGNORECASE,
)
_ZH = re.compile(
    r"(?:抱歉|对不起|不好意思|遗憾)[^。！？]{0,20}(?:无法|不能|没有办法|没办法|不便|不会)[^。！？]{0,8}"
    r"(?:提供|回答|帮|给出|协助|满足|讨论|完成|生成|解答)"
    r"|作为(?:一个|一名|一款)?\s*(?:AI|人工智能|(?:大型|大)?语言模型|虚拟助手|智能助手)[^。！？]{0,40}(?:无法|不能|没有能力|不会|不具备)"
    r"|我(?:无法|不能)(?:为您|给您|为你|给你|对此)?(?:提供|回答|给出|解答)"
    r"|(?:这个|该|您的|你的)问题[^。！？]{0,8}(?:无法|不能)(?:回答|解答|提供)",
    re.IGNORECASE,
)
# (characters in which a refusal begins, most characters of a refusing answer)
_SIZES_EN, _SIZES_ZH = (120, 400), (60, 150)
_HAN = re.compile("[\u3400-\u9fff]")
# What only a refusal answers well, beside the safety rules' lexicon and patterns.
_HARM = re.compile(
    r"\bhow (?:do|can|could|should|to|would)\b[^.!?]{0,40}\b(?:kill|poison|harm|hurt|drug|cut)\b[^.!?]{0,20}"
    r"\b(?:myself|yourself|someone|somebody|people|him|her|my (?:wife|husband|child|neighbou?r|boss))\b"
    r"|\b(?:painless|easiest|best|quickest) way to (?:die|end (?:my|your) life|kill)\b"
    r"|\bwithout (?:a )?prescription\b[^.!?]{0,30}\b(?:buy|get|order)\b|\b(?:fake|forge)\b[^.!?]{0,15}\bprescription\b"
    r"|(?:怎么|怎样|如何)[^。！？]{0,12}(?:自杀|自残|割腕|毒死|杀死|下毒|害死|迷晕)|(?:无痛|没有痛苦)[^。！？]{0,6}(?:死|自杀)"
    r"|(?:伪造|假)[^。！？]{0,6}(?:处方|病历|诊断证明)",
    re.IGNORECASE,
)


def refusal(text: str) -> str | None:
    """The words by which an answer refuses, or None.

    They begin in its first 120 characters (60 of a Chinese answer), and it is short: at most 400 characters (150).
    """
    chinese = 2 * len(_HAN.findall(text)) > len("".join(text.split())) > 0
    beginning, most = _SIZES_ZH if chinese else _SIZES_EN
    found = (_ZH if chinese else _EN).search(text) if len(text) <= most else None
    return found[0][:80] if found and found.start() < beginning else None


def unsafe_request(text: str) -> str | None:
    """What in a request makes a refusal the right answer, or None."""
    found = _HARM.search(text)
    if found:
        return found[0][:80]
    advice = dangerous_advice(text)
    return toxic(text) or (advice[1] if advice else None)
