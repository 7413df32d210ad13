"""Presidio with our recognisers: the kernels' placeholders, no fetching, and a spaCy model's persons."""

import json
import random
from pathlib import Path

import polars as pl
import pytest
from pii_traps import traps

from aquilamed.config import Invalid
from aquilamed.corpus.pii import find_pii
from aquilamed.instruct.masking import mask_dialogue
from aquilamed.instruct.presidio import PresidioConfig, find, presidio_mask, ready
from aquilamed.sample.private import generate

PLAIN = PresidioConfig()


def test_names_and_addresses_get_the_kernels_placeholders() -> None:
    text = "请张伟民医生看看，我叫王小芳，家住浙江省杭州市西湖区文三路12号，电话13812345678"
    masked, counts = presidio_mask(text, "zh", PLAIN)
    assert masked == "请[NAME]医生看看，我叫[NAME]，家住[ADDRESS]，电话[PHONE]"
    assert counts == {"ADDRESS": 1, "NAME": 2, "PHONE": 1}
    english = (
        "Regards, Dr. Anna Kowalski, MD. Write to anna@example.com. Parkinson's disease was named after Dr. Parkinson."
    )
    masked, counts = presidio_mask(english, "en", PLAIN)
    assert masked.startswith("Regards, Dr. [NAME], MD. Write to [EMAIL]. Parkinson's disease was")
    assert counts == {"EMAIL": 1, "NAME": 1}


def test_nothing_that_the_kernels_find_is_lost() -> None:
    planted = generate(60, seed=5)
    for p in planted:
        ours = find(p.text, p.lang, PLAIN)
        for span in find_pii(p.text):
            assert any(o.start <= span.start and span.end <= o.end for o in ours), (span, p.text)


def test_values_and_codes_stay() -> None:
    texts = random.Random(1).sample(traps(each=3), 60)
    assert [t for t in texts if find(t, "zh", PLAIN)] == []


def test_a_spacy_model_adds_persons_but_no_eponyms(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    people = [{"label": "PERSON", "pattern": p} for p in ("Maria Lopez", "Crohn", "James Parkinson")]
    nlp.add_pipe("entity_ruler").add_patterns(people)  # type: ignore[attr-defined]
    nlp.to_disk(tmp_path / "model")
    config = PresidioConfig(models={"en": str(tmp_path / "model")})
    ready(config)
    text = "Yesterday Maria Lopez fainted. Crohn is a disease; so thought James Parkinson."
    assert presidio_mask(text, "en", PLAIN)[1] == {}
    assert presidio_mask(text, "en", config)[0].startswith(
        "Yesterday [NAME] fainted. Crohn is a disease; so thought James"
    )


def test_a_missing_model_is_refused_and_not_fetched() -> None:
    with pytest.raises(Invalid, match=r"presidio\.models\.zh.*'zh_core_web_xx'.*nothing is fetched"):
        ready(PresidioConfig(models={"zh": "zh_core_web_xx"}))


def test_modes_of_masking() -> None:
    dialogue = [
        {"role": "user", "content": "我叫王小芳，手机13812345678"},
        {"role": "assistant", "content": "请复查。"},
    ]
    seen = {mode: mask_dialogue(dialogue, "zh", mode, PLAIN) for mode in ("none", "kernels", "presidio")}  # type: ignore[arg-type]
    assert seen["none"] == (dialogue, None)
    assert seen["kernels"][0][0]["content"] == "我叫王小芳，手机[PHONE]"
    assert seen["presidio"][0][0]["content"] == "我叫[NAME]，手机[PHONE]"
    assert json.loads(seen["presidio"][1] or "") == {"NAME": 1, "PHONE": 1}
    assert pl.DataFrame({"m": [seen["presidio"][0]]}).height == 1
