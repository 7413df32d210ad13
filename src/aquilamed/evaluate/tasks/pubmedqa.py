"""PubMedQA: ori_pqal.json (1,000 labelled) and test_ground_truth.json (the 500 ids that are scored); yes / no / maybe."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, json_file, question
from aquilamed.records import Question

OPTIONS = ["yes", "no", "maybe"]


def read(files: Files) -> list[Question]:
    """The abstract is the context; labelled questions outside the 500 test ids are few-shot examples."""
    paths = {path.name: (name, path) for name, path in files}
    missing = {"ori_pqal.json", "test_ground_truth.json"} - set(paths)
    if missing:
        raise Invalid(f"pubmedqa: {', '.join(sorted(missing))} is not among the files; give the folder that holds both")
    test = set(json_file(paths["test_ground_truth.json"][1]))
    name, path = paths["ori_pqal.json"]
    found = []
    for key, row in json_file(path).items():
        origin = f"{name}:{key}"
        if row.get("final_decision") not in OPTIONS:
            raise Invalid(f"{origin}: final_decision is {row.get('final_decision')!r}; yes, no or maybe is needed")
        found.append(
            question(
                "pubmedqa",
                "MIT",
                origin,
                lang="en",
                split="test" if key in test else "dev",
                stem=row.get("QUESTION", ""),
                options=OPTIONS,
                answer="ABC"[OPTIONS.index(row["final_decision"])],
                context="\n".join(row.get("CONTEXTS", [])),
            )
        )
    return found
