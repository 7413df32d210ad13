"""The report's sections about the SFT set: Deita scores, Context Relevance, composition, departments and diseases."""

from typing import Any

from aquilamed.report.cells import ABSENT, Table, count, get, number, percent

SHOWN = 30
_WHAT = {"complexity": "Complexity c (1 to 6)", "quality": "Quality q (1 to 6)", "deita": "s = c · q (1 to 36)"}
_BY = {"model": "the scoring model", "annotator": "the annotator", "regressor": "the regressor"}


def deita_text(s: dict[str, Any]) -> list[str]:
    """Who gave the scores, and what a regressor or a small share of score tokens means."""
    d = s["deita"]
    if not d:
        return [f"Deita scores are {ABSENT}."]
    by = d.get("scored_by") or {}
    found = ["Scored by " + ", ".join(f"{_BY.get(k, k)}: {count(n)}" for k, n in by.items()) + "."]
    if get(d, "regressor"):
        found.append(
            "The regressor learned from a scored sample; its figures are those of sampled dialogues that it did not see. "
            "It draws scores towards the middle: a scored dialogue is more often at an end than a predicted one."
        )
    if (mass := d.get("score_token_mass")) is not None:
        found.append(
            f"The model gives {percent(mass)} of its probability to the six score tokens; a model that was trained to "
            "score gives nearly all."
        )
    return found


def deita(s: dict[str, Any]) -> list[Table]:
    """Means, and the regressor on what it did not see."""
    d = s["deita"]
    if not d:
        return []
    rows = [[what, count(get(d, k, "n")), number(get(d, k, "mean"), 4)] for k, what in _WHAT.items()]
    tables = [Table(["Score", "Dialogues", "Mean"], rows)]
    if r := d.get("regressor"):
        body = [
            [what, count(r.get("heldout")), number(get(r, k, "spearman"), 3), number(get(r, k, "mae"), 3)]
            for k, what in _WHAT.items()
        ]
        body += [
            [f"s, {kind}", count(f["n"]), number(f["spearman"], 3), number(f["mae"], 3)]
            for kind, f in (r.get("by_kind") or {}).items()
        ]
        caption = f"Regressor ({r.get('backend', ABSENT)}), trained on {count(r.get('train'))} dialogues"
        tables.append(Table(["Score", "Held out", "Spearman's ρ", "Mean absolute error"], body, caption=caption))
    return tables


def relevance_text(s: dict[str, Any]) -> list[str]:
    """What a value means, and where the set was cut."""
    spread, cut = get(s["relevance"], "relevance"), s["composition"]["thresholds"]
    if not get(spread, "n"):
        return [f"Context Relevance is {ABSENT}: there is no turn behind a first one."]
    text = (
        f"{count(spread['n'])} turns, mean {number(spread['mean'], 3)}. Above 1 the history makes a turn less likely; "
        "near 0 the turn repeats it."
    )
    low, high = (get(cut, f"relevance_{k}") for k in ("low", "high"))
    if low is not None and high is not None:
        text += f" Multi-turn dialogues are kept from a mean of {number(low, 3)} to {number(high, 3)}."
    return [text]


def composition_text(s: dict[str, Any]) -> list[str]:
    """Which kinds could not fill their share."""
    c = s["composition"]
    if not c["counts"]:
        return [f"The composition is {ABSENT}."]
    if not c["target"]:
        return []
    lacking = {k: v for k, v in (c["kinds"] or {}).items() if v["asked"] and v["taken"] < v["asked"]}
    told = "; ".join(f"{k}: {count(v['taken'])} of {count(v['asked'])}" for k, v in lacking.items())
    taken = sum(c["counts"].values())
    found = [f"Asked for {count(c['target'])} dialogues, got {count(taken)}."]
    return [*found, f"These kinds could not fill their share: {told}."] if lacking else found


def composition(s: dict[str, Any]) -> list[Table]:
    """Kinds and languages beside the paper's shares."""
    c = s["composition"]
    ours, shares, paper = (c[k] or {} for k in ("counts", "shares", "paper"))
    if not ours:
        return []
    kinds = c["kinds"] or {}
    rows = [
        [
            kind,
            *(count(get(kinds, kind, k)) for k in ("asked", "available", "not_diverse")),
            count(ours.get(kind, 0)),
            percent(shares.get(kind, 0.0)),
            percent(paper[kind]) if kind in paper else "none",
        ]
        for kind in sorted({*ours, *paper})
    ]
    headers = ["Kind", "Asked", "Passed the thresholds", "Too near to a better one", "Taken", "Share", "Paper's share"]
    tables = [Table(headers, rows)]
    if languages := c["languages"]:
        total, theirs = sum(languages.values()), c["paper_languages"] or {}
        body = [
            [k, count(n), percent(n / total), percent(theirs[k]) if k in theirs else "none"]
            for k, n in languages.items()
        ]
        tables.append(Table(["Language", "Dialogues", "Share", "Paper's share"], body))
    return tables


def topics_text(s: dict[str, Any]) -> list[str]:
    """How many there are; the paper counts 15+ and 100+."""
    t = s["topics"]
    if not t:
        return [f"Departments and diseases are {ABSENT}."]
    return [
        f"{count(len(t['departments']))} departments and {count(len(t['diseases']))} diseases occur (the paper: more than "
        f"15 and 100). {count(t['no_department'])} dialogues have no department, {count(t['no_disease'])} name no disease "
        "of the lexicon. A disease is counted where it is named, also where it is only asked about or ruled out."
    ]


def topics(s: dict[str, Any]) -> list[Table]:
    """All departments, and the diseases that are named most."""
    t = s["topics"]
    if not t:
        return []
    total = sum(t["departments"].values()) + t["no_department"]
    rows = [[k.replace("_", " "), count(n), percent(n / total)] for k, n in ordered(t["departments"])]
    named = [[k, count(n)] for k, n in ordered(t["diseases"])]
    return [
        Table(["Department", "Dialogues", "Share"], rows, caption="Departments", folded=True),
        Table(["Disease", "Dialogues"], named[:SHOWN], caption=f"The {SHOWN} diseases named most", folded=True),
        Table(["Disease", "Dialogues"], named[SHOWN:], caption="All others", folded=True),
    ]


def ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Most frequent first, then by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
