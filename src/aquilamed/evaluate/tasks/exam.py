"""The generic exam form (also the built-in sample's): JSON lines with id, lang, topic, question, options, answer, split."""

from aquilamed.evaluate.tasks.reading import Files
from aquilamed.records import Question
from aquilamed.sources.questions import read_exam


def read(files: Files) -> list[Question]:
    """All questions of the files given; split "train" is never scored."""
    return [q for name, path in files for q in read_exam(path, name)]
