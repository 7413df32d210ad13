"""What a card says in words: the three kinds of data sets, their columns, and what they cannot be relied on for."""

from collections.abc import Sequence
from dataclasses import dataclass

from aquilamed.release.facts import labels
from aquilamed.report.cells import count
from aquilamed.report.run_sections import OFFLINE
from aquilamed.workspace import Artifact


@dataclass(frozen=True)
class Words:
    """The sentences of one kind of data set."""

    noun: str
    purpose: str
    intended: str
    tasks: list[str]
    tags: list[str]
    load: list[str]
    trainer: str
    splits: str
    labels: list[str]


_SPLIT = (
    "The validation split holds the records that `{stage}` of this recipe holds out: those whose seeded hash of the id falls below "
    "the recipe's share. Train on `train` only, and results compare."
)
WORDS = {
    "instruct": Words(
        noun="Medical dialogues for supervised fine-tuning",
        purpose="This set teaches language models to talk about medicine.",
        intended="supervised fine-tuning, and work on how such data is selected.",
        tasks=["text-generation", "question-answering"],
        tags=["sft", "conversational", "instruction-tuning"],
        load=['published = load_dataset("OWNER/NAME", "aquilamed")  # instruction, input, output, history'],
        trainer="TRL's `SFTTrainer` reads the config `default` as it is. The config `aquilamed` is the form of AquilaMed-Instruct, and its `.jsonl` files hold the same once more as JSON lines.",
        splits=_SPLIT.format(stage="finetune"),
        labels=[
            "`complexity`, `quality` and `deita` are means over a dialogue's rounds; `relevance` holds one value per turn."
        ],
    ),
    "preference": Words(
        noun="Pairs of a preferred and a rejected answer to medical prompts",
        purpose="This set teaches language models which of two answers about medicine is the better one.",
        intended="preference optimisation (DPO and its relatives) and reward models.",
        tasks=["text-generation"],
        tags=["dpo", "preference", "rlhf", "conversational"],
        load=['published = load_dataset("OWNER/NAME", "aquilamed")  # instruction, input, output = [chosen, rejected]'],
        trainer="TRL's `DPOTrainer` reads the config `default` as it is. The config `aquilamed` is the form of AquilaMed-RL, and its `.jsonl` files hold the same once more as JSON lines.",
        splits=_SPLIT.format(stage="align"),
        labels=[
            "Subjective pairs: an answer that a model or a service wrote against the source's own, judged in both orders; only "
            "agreeing verdicts make a pair. Objective pairs: a question's known answer against one of its wrong options."
        ],
    ),
    "corpus": Words(
        noun="Text for continued pre-training, in the mixes of its stages",
        purpose="This corpus takes a general language model into medicine.",
        intended="continued pre-training.",
        tasks=["text-generation"],
        tags=["pretraining", "corpus"],
        load=['second = load_dataset("OWNER/NAME", "mix2")  # the mix of the other stage, where the recipe makes it'],
        trainer="The configs are the mixes: `mix1` is rule-filtered domain and general text, `mix2` quality-filtered domain text and "
        "dialogues as text. Any trainer that reads a column `text` takes them.",
        splits="The validation split holds the documents that the mix keeps out of training for measuring perplexity; they are the same "
        "in both mixes.",
        labels=[
            "`domain` comes from the domain classifier or the stage that mixed the record in; `tokens` is counted by script."
        ],
    ),
}

COLUMNS = {
    "id": "stable identifier; source, file and record number decide it",
    "source": "the source's name in the recipe",
    "license": "the licence as the source states it",
    "origin": "file and record number in the source",
    "kind": "kind of record, as in the paper",
    "lang": "language",
    "messages": "the dialogue: role (system, user, assistant) and content",
    "prompt": "messages before the two answers",
    "chosen": "the preferred answer",
    "rejected": "the other answer",
    "margin": "the judge's score difference; one where the verdict has no score",
    "verdicts": "the judge's verdicts on both orders",
    "human": "counts of doctors' votes, as JSON; null where nobody judged",
    "pii": "what was masked: type and count, as JSON; null for nothing",
    "complexity": "Deita complexity of the questions",
    "quality": "Deita quality of the answers",
    "deita": "complexity times quality",
    "relevance": "Context Relevance per turn; null for the first turn and where it was not scored",
    "text": "the document",
    "domain": "label of the domain classifier",
    "tokens": "tokens by script: a Han character or a word is one",
    "instruction": "the last question",
    "input": "always empty: the question stands in instruction",
    "output": "the answer; of a pair the list [chosen, rejected]",
    "history": "earlier rounds, each [question, answer]",
    "system": "the system text, empty where there is none",
    "department": "medical department",
    "diseases": "diseases that are named, by their English names",
    "department_note": "why there is no department",
    "scored_by": "who gave the scores: a model, the annotator, or a regressor that learned from them",
}


def limitations(chain: Sequence[Artifact], everything: Sequence[Artifact]) -> list[str]:
    """What has to be known before the data is used, as far as the manifests tell."""
    found = [
        "Selection is automatic. Scores and filters are wrong at times: unsafe, false or outdated medical statements are in here.",
        "Private information is masked by patterns; names and addresses without a pattern can remain.",
        "Decontamination finds what overlaps in wording; a benchmark's content in other words passes.",
    ]
    if any(row["kind"] == "offline" for row in labels(chain)):
        found.append(
            OFFLINE + " Rules count words and signs; what they call quality or a win is not a doctor's judgement."
        )
    for artifact in chain:
        if masked := artifact.metrics.get("masked_dialogues"):
            found.append(
                f"Private information was masked in {count(masked)} of the dialogues that passed {artifact.stage}."
            )
        answers = artifact.manifest.get("params", {}).get("config", {}).get("answers")
        if artifact.stage == "prefer/subjective" and answers:
            model = "the fine-tuned model" if "finetune" in artifact.manifest.get("inputs", {}) else "the base model"
            who = f"{model} of this recipe" if answers == "model" else "the annotator"
            found.append(f"One answer of every subjective pair was written by {who}, not by a doctor.")
    if any(a.stage == "sample" for a in everything):
        found.append(
            "Part of the sources is the toolkit's built-in sample: small, written for it, and dirty on purpose."
        )
    return found
