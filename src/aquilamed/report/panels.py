"""What stands inside the figures: each function fills one matplotlib axis and says whether it had anything to draw."""

from typing import Any

INK = "#111213"  # found again in the SVG and made the page's text colour
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, GREY = "#56B4E9", "#D55E00", "#8A8A8A"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
HATCHES = ("", "//", "..", "xx", "\\\\", "++")
LANGUAGES = {"zh": (BLUE, "o"), "en": (VERMILION, "s")}
FUNNEL = (
    *("corpus/language", "corpus/rules", "corpus/pii", "corpus/toxicity", "corpus/dedup", "corpus/decontaminate"),
    *(
        "corpus/domain",
        "corpus/quality",
        "instruct/dedup",
        "instruct/questions",
        "instruct/decontaminate",
        "instruct/safety",
    ),
    *("instruct/deita", "instruct/relevance", "instruct/select"),
)
READERS = {"sources/documents": BLUE, "sources/dialogues": ORANGE}


_ON_BAR: dict[str, Any] = {
    "color": "black",
    "bbox": {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
}  # a number on any colour and hatch
_BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}  # a legend's place, under the labels


def funnel(axis: Any, summary: dict[str, Any]) -> bool:
    """Records left after every filter, documents and dialogues."""
    bars: list[tuple[str, int, str]] = []
    for reader, color in READERS.items():
        stage = summary["stages"].get(reader, {})
        if stage.get("records_in") is None:
            continue
        what = reader.split("/")[1]
        bars += [(f"{what} in files", stage["records_in"], color), ("readable", stage["records_kept"], color)]
        group = "corpus/" if what == "documents" else "instruct/"
        for name in FUNNEL:
            kept = summary["stages"].get(name, {}).get("records_kept")
            if name.startswith(group) and kept is not None:
                bars.append((f"after {name.split('/')[1]}", kept, color))
    if not bars:
        return False
    places = range(len(bars))
    drawn = axis.barh(places, [b[1] for b in bars], color=[b[2] for b in bars], height=0.78)
    axis.bar_label(drawn, [f"{b[1]:,}" for b in bars], padding=3, fontsize=8)
    axis.set_yticks(places, [b[0] for b in bars], fontsize=8)
    axis.set(xlabel="records", title="What the filters leave")
    axis.margins(x=0.12, y=0.01)
    axis.invert_yaxis()
    return True


def perplexity(axis: Any, summary: dict[str, Any]) -> bool:
    """Held-out perplexity before and after each stage; a line joins two numbers of the same documents."""
    sets = summary["perplexity"]["sets"]
    start = 0 if not sets["pack1"] else 1
    spans = {"pack1": (0, 1), "pack2": (start, 2)}
    values: list[float] = []
    for number, (pack, (left, right)) in enumerate(spans.items()):
        told = sets[pack] or {}
        for lang, (color, marker) in LANGUAGES.items():
            pair: list[Any] = [(told.get(k) or {}).get(lang) for k in ("before", "after")]
            if None in pair:
                continue
            label = f"{lang}, held out of mix {number + 1}"
            ends = [((told.get("intervals") or {}).get(k) or {}).get(lang) for k in ("before", "after")]
            reach = [abs(end - y) for y, span in zip(pair, ends, strict=True) for end in (span or (y, y))]
            bars = {"yerr": [reach[::2], reach[1::2]], "capsize": 3, "elinewidth": 0.9} if any(reach) else {}
            style = {"color": color, "marker": marker, "linestyle": ("-", "--")[number], "label": label}
            axis.errorbar([left, right], pair, **style, **bars)
            others = [told.get(k) or {} for k in ("before", "after")]
            for x, y, place, all_of in zip((left, right), pair, ("left", "right"), others, strict=True):
                shift = (5 if place == "left" else -5, 6 if y >= max(all_of.values()) else -13)
                axis.annotate(f"{y:.4g}", (x, y), shift, textcoords="offset points", ha=place, fontsize=8)
            values += pair + [end for span in ends for end in span or ()]
    if not values:
        return False
    axis.set_yscale("log")
    room = max(1.08, (max(values) / min(values)) ** 0.4)  # for the numbers above and below
    axis.set_ylim(min(values) / room, max(values) * room)
    _plain_log(axis)
    axis.set_xticks([0, 1, 2], ["base", "stage 1", "stage 2"])
    axis.set_xlim(-0.35, 2.35)
    axis.set(ylabel="perplexity per token, 95 % interval", title="Held-out perplexity (lower is better)")
    axis.grid(axis="y", alpha=0.25)
    axis.legend(fontsize=8, frameon=False, handlelength=3.5, ncols=2, **_BELOW)
    return True


def _plain_log(axis: Any) -> None:
    """Few plain numbers on a logarithmic axis, also when it spans less than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def preference(axis: Any, summary: dict[str, Any]) -> bool:
    """DPO: share of pairs whose chosen answer is preferred, before and after."""
    told = [summary["dpo"][when] or {} for when in ("before", "after")]
    accuracy: list[Any] = [t.get("accuracy") for t in told]
    if None in accuracy:
        return False
    pairs, measured_on = summary["dpo"]["pairs"], summary["dpo"]["measured_on"] or ""
    count = pairs.get(measured_on) if isinstance(pairs, dict) else None
    error = (
        {"yerr": _binomial(accuracy, count), "capsize": 3, "error_kw": {"elinewidth": 0.9, "ecolor": INK}}
        if count
        else {}
    )
    drawn = axis.bar([0, 1], [100 * a for a in accuracy], color=[GREY, GREEN], width=0.5, **error)
    margins = [t.get("margin") for t in told]
    labels = [
        f"{100 * a:.1f} %" + (f"\nmargin {m:.4g}" if m is not None else "")
        for a, m in zip(accuracy, margins, strict=True)
    ]
    axis.bar_label(drawn, labels, padding=3, fontsize=8.5)
    axis.axhline(50, linestyle=":", linewidth=1, color=VERMILION, label="chance")
    axis.set_xticks([0, 1], ["before DPO", "after DPO"])
    axis.set_xlim(-0.6, 1.6)
    axis.set_ylim(0, 118)
    axis.set_yticks(range(0, 101, 25))
    on = {"validation": "held-out pairs", "train": "training pairs"}.get(measured_on, "pairs")
    axis.set(ylabel=f"{on} preferred, %" + (" (95 % interval)" if count else ""))
    axis.set_title(f"Preference accuracy on {on}" + (f" (n = {count:,})" if count else ""))
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    return True


def knowledge(axis: Any, summary: dict[str, Any]) -> bool:
    """Multiple-choice accuracy with its standard error, and chance."""
    rows = [r for r in summary["knowledge"] if r["accuracy"] is not None]
    if not rows:
        return False
    tasks, models = list(dict.fromkeys(r["task"] for r in rows)), list(dict.fromkeys(r["model"] for r in rows))
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        mine = [r for r in rows if r["model"] == model]
        places = [tasks.index(r["task"]) - 0.4 + width * (number + 0.5) for r in mine]
        drawn = axis.bar(
            places,
            [r["accuracy"] for r in mine],
            width * 0.92,
            yerr=[r["stderr"] or 0 for r in mine],
            error_kw={"elinewidth": 0.9, "capsize": 2, "ecolor": INK},
            color=PALETTE[number % 6],
            hatch=HATCHES[number % 6],
            edgecolor="white",
            label=model,
        )
        for bar, r in zip(drawn.patches, mine, strict=True):  # at the foot: above, bars of other models and chance lie
            axis.text(bar.get_x() + bar.get_width() / 2, 1, f"{r['accuracy']:.0f}", ha="center", fontsize=8, **_ON_BAR)
    for number, task in enumerate(tasks):
        chance = next((r["chance"] for r in rows if r["task"] == task and r["chance"] is not None), None)
        if chance is not None:
            label = "chance" if number == 0 else None
            axis.hlines(chance, number - 0.45, number + 0.45, linestyle=":", color=VERMILION, label=label)
    sizes = {t: max(r["n"] for r in rows if r["task"] == t) for t in tasks}
    axis.set_xticks(range(len(tasks)), [f"{t}\n(n = {sizes[t]:,})" for t in tasks])
    top = max(r["accuracy"] + (r["stderr"] or 0) for r in rows)
    axis.set_ylim(0, min(108, max(40, top * 1.12)))
    axis.set(ylabel="accuracy, % (± standard error)", title="Knowledge: multiple choice")
    axis.legend(fontsize=8, frameon=False, ncols=min(5, len(models) + 1), columnspacing=1.2, **_BELOW)
    return True


def _binomial(shares: list[float], n: int) -> list[list[float]]:
    """How far the 95 % intervals of shares of n reach below and above them, in percent (Clopper and Pearson; a tie is half)."""
    from scipy.stats import beta

    counts = [share * n for share in shares]
    below = [100 * (k / n - (beta.ppf(0.025, k, n - k + 1) if k else 0.0)) for k in counts]
    return [below, [100 * ((beta.ppf(0.975, k + 1, n - k) if k < n else 1.0) - k / n) for k in counts]]


def knowledge_size(summary: dict[str, Any]) -> tuple[float, float]:
    """The size of a figure of `knowledge`: a bar per model and benchmark."""
    bars = sum(r["accuracy"] is not None for r in summary["knowledge"])
    return max(4.8, min(11, 1 + 0.42 * bars)), 3.6


def loss(axis: Any, name: str, curve: list[list[float]], validation: list[list[float]]) -> None:
    """A training's loss, and its validation loss where there is one."""
    unit = "pair" if name == "align" else "token"
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.plot(*zip(*curve, strict=True), color=BLUE, marker="." if len(curve) < 40 else "", label="training")
    if validation:
        axis.plot(*zip(*validation, strict=True), color=VERMILION, marker="s", linestyle="--", label="validation")
        axis.legend(fontsize=8, frameon=False)
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.set(xlabel="step", ylabel=f"loss, nats per {unit}", title=name)
    axis.grid(alpha=0.25)


def pairwise(axis: Any, summary: dict[str, Any]) -> bool:
    """Win, tie and loss as shares of the scored pairs."""
    rows = [r for r in summary["pairwise"] if r["win"] + r["tie"] + r["loss"]]
    if not rows:
        return False
    left = [0.0] * len(rows)
    for outcome, color, hatch in (("win", BLUE, ""), ("tie", "#BBBBBB", "//"), ("loss", ORANGE, "xx")):
        shares = [100 * r[outcome] / (r["win"] + r["tie"] + r["loss"]) for r in rows]
        drawn = axis.barh(
            range(len(rows)), shares, 0.66, left, color=color, hatch=hatch, edgecolor="white", label=outcome
        )
        labels = [f"{s:.0f} %" if s >= 6 else "" for s in shares]
        axis.bar_label(drawn, labels, label_type="center", fontsize=8, **_ON_BAR)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    names = [
        f"{r['model']} against {r['against']}\n{r['benchmark']}, n = {r['win'] + r['tie'] + r['loss']}"
        + (f" ({r['unscored']} unscored)" if r["unscored"] else "")
        for r in rows
    ]
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_xlabel("scored pairs, %")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)
    return True


def aspect(axis: Any, name: str, models: dict[str, Any]) -> None:
    """One aspect's mean score per round, a bar per model, with its interval over dialogues."""
    width = 0.8 / len(models)
    numbers: set[int] = set()
    for i, (model, told) in enumerate(models.items()):
        rounds = [r for r in told["rounds"] if r[name] is not None]
        numbers |= {r["round"] for r in rounds}
        drawn = axis.bar(
            [r["round"] - 0.4 + width * (i + 0.5) for r in rounds],
            [r[name] for r in rounds],
            width * 0.92,
            color=PALETTE[i % 6],
            hatch=HATCHES[i % 6],
            edgecolor="white",
            label=model,
            yerr=_reach(rounds, name),
            ecolor=INK,
            capsize=2,
        )
        axis.bar_label(drawn, [f"{r[name]:.1f}" for r in rounds], padding=2, fontsize=7)
    axis.set_xticks(sorted(numbers))
    axis.set_ylim(0, 6.4)  # room for the legend
    axis.set_yticks(range(6))
    axis.set(xlabel="round", title=name, ylabel="judge's mean score (1 to 5)")
    axis.legend(fontsize=7, frameon=False, ncols=2, loc="upper left")


def _reach(rounds: list[dict[str, Any]], name: str) -> list[list[float]] | None:
    """How far the intervals reach below and above the means; None where no round has one, 0 where one has none."""
    ends = [(r.get("intervals") or {}).get(name) for r in rounds]
    if not any(ends):
        return None
    below = [r[name] - end[0] if end else 0.0 for r, end in zip(rounds, ends, strict=True)]
    above = [end[1] - r[name] if end else 0.0 for r, end in zip(rounds, ends, strict=True)]
    return [[max(v, 0.0) for v in below], [max(v, 0.0) for v in above]]


def quality(axis: Any, summary: dict[str, Any]) -> bool:
    """Predicted quality of the domain's documents, with the threshold."""
    edges, counts = zip(*summary["quality"]["histogram"], strict=True)
    step = edges[1] - edges[0] if len(edges) > 1 else 1
    axis.bar(edges, counts, step * 0.92, align="edge", color=BLUE)
    threshold = summary["quality"].get("threshold")
    if threshold is not None:
        axis.axvline(threshold, color=VERMILION, linestyle="--", label=f"kept from {threshold:.4g} on")
        axis.legend(fontsize=8, frameon=False)
    axis.set(xlabel="predicted quality (0 to 6)", ylabel="documents")
    return True
