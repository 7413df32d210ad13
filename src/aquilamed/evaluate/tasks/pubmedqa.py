"""PubMedQA: ori_pqal.json (1,000 labelled) and test_ground_truth.json (the 500 ids that are scored); yes / no / maybe."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, an_object, json_file, question
from aquilamed.records import Question

OPTIONS = ["yes", "no", "maybe"]


def read(files: Files) -> list[Question]:
    """The abstract is the context; labelled questions outside the 500 test ids are few-shot examples."""
    paths = {path.name: (name, path) for name, path in files}
    missing = {"ori_pqal.json", "test_ground_truth.json"} - set(paths)
    if missing:
        raise Invalid(f"pubmedqa: {', '.join(sorted(missing))} is not among the files; give the folder that holds both")
    test = set(an_object(json_file(paths["test_ground_truth.json"][1]), paths["test_ground_truth.json"][0]))
    name, path = paths["ori_pqal.json"]
    found = []
    labelled = an_object(json_file(path), name)
    if unlabelled := test - set(labelled):
        raise Invalid(f"{name}: {len(unlabelled)} test ids are not in it, such as {min(unlabelled)!r}")
    for key, value in labelled.items():
        origin = f"{name}:{key}"
        row = an_object(value, origin)
        contexts = row.get("CONTEXTS")
        if not isinstance(contexts, list) or not contexts or not all(isinstance(c, str) for c in contexts):
            raise Invalid(f"{origin}: CONTEXTS must be a list of texts")
        if row.get("final_decision") not in OPTIONS:
            raise Invalid(f"{origin}: final_decision is {row.get('final_decision')!r}; yes, no or maybe is needed")
        found.append(
            question(
                "pubmedqa",
                "MIT",
                origin,
                lang="en",
                split="test" if key in test else "dev",
                stem=row.get("QUESTION"),
                options=OPTIONS,
                answer="ABC"[OPTIONS.index(row["final_decision"])],
                context="\n".join(contexts),
            )
        )
    return found
