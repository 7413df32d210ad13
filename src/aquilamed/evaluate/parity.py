"""The paper's result tables (section 5), and ours put beside them. The models differ: the numbers orient, no more."""

from typing import Any

NOTE = (
    "The paper's rows are Aquila-7B and what was trained from it; ours are the models of this run. "
    "Base models, data sizes and question counts differ, so the columns orient and do not compete."
)

# Accuracy in percent, 3-shot for base and pretrain.
KNOWLEDGE: dict[str, dict[str, float]] = {
    "base": {"mmlu": 42.91, "ceval": 48.77, "medqa": 38.65, "medmcqa": 38.58, "pubmedqa": 71.60},
    "pretrain": {"mmlu": 49.32, "ceval": 48.40, "medqa": 41.56, "medmcqa": 38.23, "pubmedqa": 72.40},
    "finetune": {"mmlu": 56.2, "ceval": 50.44, "cmb": 47.63},
    "align": {"mmlu": 56.4, "ceval": 53.10, "cmb": 47.12},
}
NAMES = {"base": "Aquila", "pretrain": "Aquila-Med", "finetune": "Aquila-Med-Chat", "align": "Aquila-Med-Chat-DPO"}

# Huatuo MedicalQA, percent win / tie / loss.
PAIRWISE: dict[tuple[str, str], tuple[float, float, float]] = {
    ("finetune", "reference"): (62.4, 26.8, 10.8),
    ("finetune", "GPT-3.5"): (2.4, 23.6, 74.0),
    ("align", "reference"): (76.0, 17.8, 6.2),
    ("align", "GPT-3.5"): (10.6, 42.0, 47.4),
}


def beside(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per model and benchmark: our accuracy in percent (± standard error, n) and the paper's, None where it has none.

    Args:
        results: evaluate/knowledge's `results`.
    """
    rows = []
    for r in results:
        percent = None if r["accuracy"] is None else 100 * r["accuracy"]
        rows.append(
            {
                "model": r["model"],
                "task": r["task"],
                "n": r["n"],
                "shots": r["shots"],
                "accuracy": percent,
                "stderr": None if r["stderr"] is None else 100 * r["stderr"],
                "interval": None if r["interval"] is None else [100 * v for v in r["interval"]],
                "chance": None if r["chance"] is None else 100 * r["chance"],
                "invalid": r["invalid"],
                "unscored": r.get("unscored", 0),
                "leaked": r["leaked"],
                "clean": r["clean"],
                "turned": r.get("turned"),
                "paper": KNOWLEDGE.get(r["model"], {}).get(r["task"]),
                "paper_model": NAMES.get(r["model"]),
            }
        )
    return rows
