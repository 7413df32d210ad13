"""The prompts of multiple-choice questions: explicit, in the benchmark's language, with fixed examples.

instruction, examples of the same subject with their answers, then context, question, options and a cue
"""

import dataclasses
from dataclasses import dataclass

from aquilamed.evaluate.tasks import Questions
from aquilamed.evaluate.tasks.reading import LETTERS
from aquilamed.records import Question

INSTRUCTION = {
    "en": "The following are multiple-choice questions about medicine. Give the letter of the right answer.",
    "zh": "以下是关于医学的选择题，请给出正确答案的字母。",
}
SEVERAL = {
    "en": "The following are multiple-choice questions about medicine with one or more right answers. Give all their letters.",
    "zh": "以下是关于医学的选择题，每题有一个或多个正确答案，请给出所有正确答案的字母。",
}
CUE = {"en": "Answer:", "zh": "答案："}


@dataclass(frozen=True)
class Sheet:
    """A question as a model sees it: `question` with its options in the shown order, and the prompt before the answer."""

    question: Question
    prompt: str
    shots: tuple[str, ...]
    """The examples' ids."""

    @property
    def letters(self) -> str:
        """The letters of the options."""
        return LETTERS[: len(self.question.options)]


def sheets(questions: Questions, shots: int, turn: int = 0) -> list[Sheet]:
    """All scored questions with their options turned by `turn` places; the examples stay as they are."""
    found = []
    for question in questions.test:
        examples = questions.examples(question, shots)
        shown = turned(question, turn)
        found.append(Sheet(shown, prompt(shown, examples), tuple(e.id for e in examples)))
    return found


def turned(question: Question, places: int) -> Question:
    """The question with its options moved up by so many places, in a circle; the answer's letters follow."""
    count = len(question.options)
    options = [question.options[(n + places) % count] for n in range(count)]
    answer = sorted(LETTERS[(LETTERS.index(letter) - places) % count] for letter in question.answer)
    return dataclasses.replace(question, options=options, answer="".join(answer))


def unturned(letter: str, count: int, places: int) -> str:
    """The letter in the original order of an option chosen in the turned one."""
    return LETTERS[(LETTERS.index(letter) + places) % count]


def prompt(question: Question, examples: list[Question]) -> str:
    """The text before the answer's letters."""
    wording = SEVERAL if len(question.answer) > 1 else INSTRUCTION
    blocks = [wording[question.lang if question.lang in wording else "en"]]
    blocks += [f"{_block(e)} {e.answer}" for e in examples]
    blocks.append(_block(question))
    return "\n\n".join(blocks)


def _block(question: Question) -> str:
    lines = [question.context] if question.context else []
    lines.append(question.question)
    lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False)]
    lines.append(CUE[question.lang if question.lang in CUE else "en"])
    return "\n".join(lines)
