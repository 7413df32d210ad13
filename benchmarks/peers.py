"""What the corpus benchmark measures against: datatrove with the same rules, written as its documentation shows.

`PlainFilter` holds our rules as an engineer would write them for datatrove: one document at a time, compiled regular
expressions, the standard library. Its verdicts are the kernels' verdicts; the benchmark counts where they are not.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import minhash
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter

from aquilamed.corpus import cues, toxicity
from aquilamed.corpus.ngrams import HAN, normalise
from aquilamed.corpus.pii import PiiConfig, mask_text
from aquilamed.corpus.rules import RulesConfig, repeated_lines

TOKEN = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
BLANKS = re.compile(r"\s+")
SPECIAL = re.compile(r"""[^\w\s.,;:!?'"()\-–—/%&+=°·…，。；：！？、“”‘’（）《》〈〉「」『』【】～]|_""")
RUN = re.compile(r"[.,;:!?'\"\-–—/%&+=°·…，。；：！？、～]{4,}")
CUES = {"mojibake": cues.MOJIBAKE, "advert": cues.ADVERT, "media_residue": cues.MEDIA, "boilerplate": cues.NAVIGATION}


def plain_rules(text: str, config: RulesConfig) -> str | None:
    """The rule filter's reason for one text."""
    tokens = len(TOKEN.findall(text))
    if tokens < config.min_tokens:
        return "too_few_tokens"
    for name, found in CUES.items():
        if found(text, tokens):
            return name
    solid = BLANKS.sub("", text)
    special = len(SPECIAL.findall(text)) + sum(len(m) for m in RUN.findall(solid))
    if special > config.special_characters * len(solid):
        return "special_characters"
    if repeated_lines(text) > config.repeated_lines:
        return "repeated_lines"
    words = TOKEN.findall(normalise(text))
    if len(words) >= 32:
        grams = Counter(tuple(words[i : i + 8]) for i in range(len(words) - 7))
        if 1 - len(grams) / (len(words) - 7) > config.repeated_ngrams:
            return "repeated_ngrams"
    return None


class PlainFilter(BaseFilter):
    """Rules, private information and toxicity as a custom filter of datatrove."""

    name = "rules"

    def __init__(self) -> None:
        super().__init__()
        self.rules, self.pii, self.toxicity = RulesConfig(), PiiConfig(), toxicity.ToxicityConfig()

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep a document or name the reason; masks its text."""
        if reason := plain_rules(doc.text, self.rules):
            return False, reason
        doc.text, _ = mask_text(doc.text)
        return (False, "toxic") if toxicity.toxic(doc.text, self.toxicity) else True


def filtered(texts: list[str]) -> list[str | None]:
    """The text of every document that the filter keeps, None for the others."""
    documents = [Document(text=text, id=str(n)) for n, text in enumerate(texts)]
    kept = {d.id: d.text for d in PlainFilter().run(iter(documents))}
    return [kept.get(str(n)) for n in range(len(texts))]


class _Words:
    """datatrove's own word tokenizers need spaCy and jieba; ours is simpler, and faster."""

    def word_tokenize(self, text: str) -> list[str]:
        return TOKEN.findall(text)


CONFIG = minhash.MinhashConfig(n_grams=2, num_buckets=32, hashes_per_bucket=4)


class Signature(minhash.MinhashDedupSignature):
    """Its signature step with our shingles, and xxhash as it is meant (the installed xxhash wants bytes)."""

    def __init__(self, folder: str) -> None:
        minhash.load_word_tokenizer = lambda language: _Words()
        super().__init__(folder, CONFIG)
        self._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode("utf-8", "surrogatepass"))

    def get_shingles(self, text: str) -> Any:
        """As the base class, with NFKC in place of its own simplification."""
        import numpy as np

        words = TOKEN.findall(unicodedata.normalize("NFKC", text).lower())
        grams = [self._hash_func(" ".join(words[i : i + 2])) for i in range(len(words) - 1)]
        return np.fromiter(grams, dtype=np.uint64).reshape((-1, 1))


def deduplicated(texts: list[str], folder: Path) -> set[int]:
    """The numbers of the texts that datatrove's four MinHash stages keep."""
    documents = [Document(text=text, id=str(n)) for n, text in enumerate(texts)]
    list(Signature(f"{folder}/signatures").run(iter(documents)) or [])
    for bucket in range(CONFIG.num_buckets):
        step = minhash.MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=CONFIG)
        step.run(None, rank=bucket, world_size=CONFIG.num_buckets)
    minhash.MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=CONFIG).run(None)
    return {int(d.id) for d in minhash.MinhashDedupFilter(f"{folder}/remove").run(iter(documents))}


def whole(source: Path, folder: Path, tokenizer: Path, workers: int) -> None:
    """Raw JSONL to token files: filter, deduplicate, tokenise, as four of its pipelines."""
    files = len(list(source.glob("*.jsonl")))

    def run(*steps: Any, tasks: int = files) -> None:
        logs = f"{folder}/logs/{len(list(folder.glob('logs/*')))}"
        LocalPipelineExecutor(list(steps), tasks=tasks, workers=workers, start_method="fork", logging_dir=logs).run()

    def filtered_text() -> JsonlReader:
        return JsonlReader(f"{folder}/filtered", compression=None)

    run(
        JsonlReader(str(source)),
        PlainFilter(),
        JsonlWriter(f"{folder}/filtered", output_filename="${rank}.jsonl", compression=None),
    )
    run(filtered_text(), Signature(f"{folder}/signatures"))
    run(
        minhash.MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=CONFIG),
        tasks=CONFIG.num_buckets,
    )
    run(minhash.MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=CONFIG), tasks=1)
    run(
        filtered_text(),
        minhash.MinhashDedupFilter(f"{folder}/remove"),
        DocumentTokenizer(f"{folder}/tokens", str(tokenizer), eos_token="<|endoftext|>", shuffle_documents=False),
    )


def texts_of(folder: Path) -> Iterator[str]:
    """The texts of JSONL files."""
    import json

    for file in sorted(folder.glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]
