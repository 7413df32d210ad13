"""Pairs to review and judgements of them in three formats: JSON lines of ours, Argilla's, and Label Studio's.

Only the file formats, as Argilla 2 (`rg.Settings.from_json`, `dataset.records.from_json` and `.to_json`) and Label Studio
(tasks to import, the JSON export) read and write them; neither is needed here.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from aquilamed.annotate import ASPECTS
from aquilamed.config import Invalid
from aquilamed.prefer.judgements import TEXTS, Placed, judgement, shown_hash
from aquilamed.records import write_atomic, write_json
from aquilamed.sources.files import BadRecord, RawRecord, read_records

Format = Literal["jsonl", "argilla", "label-studio"]
Item = dict[str, Any]
"""A pair as a rater sees it: pair, shown, kind, lang, prompt (messages), answer_a, answer_b."""
GUIDELINES = (
    "Two answers, A and B, to the last message of the dialogue. Who answered better, as a doctor would judge? Look at fluency, "
    "relevance, completeness and proficiency in medicine; a longer answer is not better for being longer. Mark every answer "
    "that could harm a patient. You may correct the better answer. 请判断哪位医生的回答更好；可能伤害患者的回答请标记为危险。"
)
TITLES = {
    "verdict": "Which answer is better? 哪个回答更好？",
    "fluency": "Fluency 流畅性",
    "relevance": "Relevance 相关性",
    "completeness": "Completeness 完整性",
    "proficiency": "Proficiency in medicine 医学专业性",
    "dangerous": "Could harm a patient 可能伤害患者",
    "edited": "The better answer, corrected 修改后的更好回答",
    "comment": "Comment 备注",
}
_LABELS = {"A": "A", "tie": "tie 不分上下", "B": "B", "skip": "skip 跳过"}


def write_items(items: Sequence[Item], out: Path, format: Format) -> list[Path]:
    """Write pairs to review; returns the files: Argilla's settings and Label Studio's labelling config stand beside."""
    if format == "jsonl":
        empty: dict[str, Any] = {
            "rater": "",
            "verdict": None,
            "aspects": {},
            "dangerous": [],
            "edited": "",
            "comment": "",
            "time": "",
        }
        lines = [json.dumps({**item, **empty}, ensure_ascii=False) + "\n" for item in items]
        write_atomic(out, "".join(lines).encode())
        return [out]
    if format == "argilla":
        write_json(out, [_argilla_record(item) for item in items])
        write_json(settings := out.with_suffix(".settings.json"), _argilla_settings())
        return [out, settings]
    write_json(out, [{"data": item} for item in items])
    write_atomic(config := out.with_suffix(".config.xml"), _label_studio_config().encode())
    return [out, config]


def _argilla_record(item: Item) -> dict[str, Any]:
    return {
        "id": item["pair"],
        "fields": {key: item[key] for key in ("prompt", "answer_a", "answer_b")},
        "metadata": {key: item[key] for key in ("shown", "kind", "lang")},
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def _argilla_settings() -> dict[str, Any]:
    def options(letters: Sequence[str]) -> list[dict[str, str]]:
        return [{"text": _LABELS[letter], "value": letter} for letter in letters]

    def question(name: str, settings: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "title": TITLES[name], "required": name == "verdict", "settings": settings}

    choice = {"type": "label_selection", "options": options(("A", "tie", "B"))}
    several = {"type": "multi_label_selection", "options": options(("A", "B")), "options_order": "natural"}
    # Plain text: an answer's Markdown is not rendered.
    text = {"type": "text", "use_markdown": False}
    fields = {"prompt": {"type": "chat", "use_markdown": False}, "answer_a": text, "answer_b": text}
    return {
        "guidelines": GUIDELINES,
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "fields": [
            {"name": name, "title": name, "required": True, "settings": settings} for name, settings in fields.items()
        ],
        "questions": [
            question("verdict", {"type": "label_selection", "options": options(("A", "tie", "B", "skip"))}),
            *(question(aspect, choice) for aspect in ASPECTS),
            question("dangerous", several),
            question("edited", text),
            question("comment", text),
        ],
        "metadata": [
            {"name": name, "title": name, "visible_for_annotators": name != "shown", "settings": {"type": "terms"}}
            for name in ("shown", "kind", "lang")
        ],
        "vectors": [],
    }


def _label_studio_config() -> str:
    def choices(name: str, letters: Sequence[str], more: str) -> str:
        body = "".join(f'<Choice value="{letter}"/>' for letter in letters)
        return f'<Header value="{TITLES[name]}"/><Choices name="{name}" toName="answer_a" {more}>{body}</Choices>'

    def area(name: str) -> str:
        return (
            f'<Header value="{TITLES[name]}"/><TextArea name="{name}" toName="answer_a" rows="3" maxSubmissions="1"/>'
        )

    one = 'choice="single" showInline="true"'
    return "\n  ".join(
        [
            "<View>",
            f'<Header value="{GUIDELINES}"/>',
            '<Paragraphs name="prompt" value="$prompt" layout="dialogue" nameKey="role" textKey="content"/>',
            '<Header value="A"/><Text name="answer_a" value="$answer_a"/>',
            '<Header value="B"/><Text name="answer_b" value="$answer_b"/>',
            choices("verdict", ("A", "tie", "B"), f'{one} required="true"'),
            *(choices(aspect, ("A", "tie", "B"), one) for aspect in ASPECTS),
            choices("dangerous", ("A", "B"), 'choice="multiple" showInline="true"'),
            area("edited"),
            area("comment") + "\n</View>\n",
        ]
    )


def read_items(path: Path, format: Format | None = None) -> tuple[list[Placed], int]:
    """The judgements of a filled-in file, and how many pairs (of how many raters) in it were left unjudged.

    Args:
        format: found from the first record when None.

    Raises:
        Invalid: naming file, line (JSON lines) or record number (JSON), field, and what to do.
    """
    found: list[Placed] = []
    unjudged = 0
    for record in _records(path):
        format = format or _format(record)
        for value in _READERS[format](record):
            if value is None:
                unjudged += 1
            else:
                found.append(judgement(record.origin, value))
    return found, unjudged


def _records(path: Path) -> Iterator[RawRecord]:
    for record in read_records(path, path.name):
        if isinstance(record, BadRecord):
            raise Invalid(f"{record.detail}; mend it or export the file again")
        if not isinstance(record.value, dict):
            raise Invalid(f"{record.origin}: a record is a JSON object, this is {type(record.value).__name__}")
        yield record


def _format(record: RawRecord) -> Format:
    if "pair" in record.value:
        return "jsonl"
    if "fields" in record.value:
        return "argilla"
    if "data" in record.value:
        return "label-studio"
    raise Invalid(
        f"{record.origin}: neither a judgement, nor an Argilla record, nor a Label Studio task; see the guide"
    )


def _from_jsonl(record: RawRecord) -> Iterator[Mapping[str, Any] | None]:
    value = record.value
    if value.get("verdict") is None:
        yield None
        return
    if all(key in value for key in (*TEXTS, "shown")):
        try:
            answers = ([{"role": "assistant", "content": value[key]}] for key in ("answer_a", "answer_b"))
            same = shown_hash(value["prompt"], *answers) == value["shown"]
        except (KeyError, TypeError):
            same = False
        if not same:
            raise Invalid(
                f"{record.origin}: the texts in this line are not those that were exported; leave them alone and write a "
                "corrected answer into field 'edited'"
            )
    yield value


def _from_argilla(record: RawRecord) -> Iterator[Mapping[str, Any] | None]:
    origin, value = record.origin, record.value
    metadata, responses = value.get("metadata"), value.get("responses")
    if not isinstance(metadata, dict) or "shown" not in metadata:
        raise Invalid(f"{origin}: field 'metadata.shown' is missing; export the dataset with its metadata")
    if not isinstance(responses, dict):
        raise Invalid(f"{origin}: field 'responses' is missing; export the records with their responses")
    by_user: dict[str, dict[str, Any]] = {}
    for question, answers in responses.items():
        if question not in TITLES:
            raise Invalid(f"{origin}: question {question!r} is none of {', '.join(TITLES)}; use the exported settings")
        for answer in answers if isinstance(answers, list) else [None]:
            if not isinstance(answer, dict) or not {"user_id", "value"} <= set(answer):
                raise Invalid(f"{origin}: field 'responses.{question}' is no list of {{user_id, value}}")
            mine = by_user.setdefault(str(answer["user_id"]), {})
            if question in mine:
                raise Invalid(f"{origin}: user {answer['user_id']} answered {question!r} twice; keep one answer")
            mine[question] = answer["value"]
    if not by_user:
        yield None
    for user, said in sorted(by_user.items()):
        yield _assembled(value.get("id"), metadata["shown"], user, said, "") if said.get("verdict") else None


def _from_label_studio(record: RawRecord) -> Iterator[Mapping[str, Any] | None]:
    origin, data = record.origin, record.value.get("data")
    if not isinstance(data, dict) or not {"pair", "shown"} <= set(data):
        raise Invalid(f"{origin}: field 'data' lacks pair and shown; import the exported tasks, export them as JSON")
    annotations = record.value.get("annotations") or []
    if not annotations:
        yield None
    for annotation in annotations:
        try:
            who, said = annotation["completed_by"], {}
            rater = who.get("email") or who["id"] if isinstance(who, dict) else who
            for region in annotation.get("result") or []:
                if (name := region["from_name"]) not in TITLES or name in said:
                    raise Invalid(f"{origin}: {name!r} is answered twice or no control of the exported config")
                values = region["value"].get("choices") or region["value"].get("text") or []
                said[name] = values if isinstance(values, list) else [values]
            time = annotation.get("updated_at") or annotation.get("created_at") or ""
        except (KeyError, TypeError, AttributeError) as error:
            raise Invalid(f"{origin}: no annotation of Label Studio's JSON export ({error!r})") from error
        plain = {name: values if name == "dangerous" else "\n".join(values) for name, values in said.items()}
        if annotation.get("was_cancelled"):
            plain = {"verdict": "skip"}
        if "verdict" not in plain:
            raise Invalid(f"{origin}: the annotation of {rater} has no verdict; finish it or delete it")
        yield _assembled(data["pair"], data["shown"], str(rater), plain, time)


def _assembled(pair: Any, shown: Any, rater: str, said: Mapping[str, Any], time: str) -> dict[str, Any]:
    value = {"pair": pair, "shown": shown, "rater": rater, "time": time, "verdict": said["verdict"]}
    value["aspects"] = {aspect: said[aspect] for aspect in ASPECTS if said.get(aspect)}
    return value | {key: said[key] for key in ("dangerous", "edited", "comment") if said.get(key)}


_READERS: dict[Format, Callable[[RawRecord], Iterator[Mapping[str, Any] | None]]] = {
    "jsonl": _from_jsonl,
    "argilla": _from_argilla,
    "label-studio": _from_label_studio,
}
