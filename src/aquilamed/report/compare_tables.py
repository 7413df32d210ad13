"""A comparison as tables of finished cells, for the terminal and for the page."""

from dataclasses import dataclass

from aquilamed.report.cells import ABSENT, Table, count, difference, number, percent
from aquilamed.report.compare import Comparison
from aquilamed.report.compare_answers import MCNEMAR
from aquilamed.report.compare_numbers import Group, Line

_FORMS = {"count": count, "number": number, "percent": percent}
SAME = "equal"


@dataclass(frozen=True)
class Part:
    """A heading with sentences and tables."""

    title: str
    text: list[str]
    tables: list[Table]


def parts(c: Comparison) -> list[Part]:
    """The recipe, the stages, and a part per group of numbers; equal numbers are counted, not listed."""
    keys = [[change.key, change.one, change.two] for change in c.recipe]
    recipe = [Table(["Key", c.one, c.two], keys, 3)] if keys else []
    other = [s for s in c.stages if s.changed or not all(s.made)]
    rows = [[s.name, s.one, s.two, ", ".join(s.changed) or _missing(s.made)] for s in other]
    stages = [Table(["Stage", c.one, c.two, "What differs"], rows, 4)] if rows else []
    alike = f"{len(c.stages) - len(other)} of {len(c.stages)} stages have the same artefact on both sides, with the same numbers."
    return [
        Part("The recipe", [] if keys else ["Every key is the same."], recipe),
        Part("The stages", [alike], stages),
        *(_numbers(group, c) for group in c.groups),
    ]


def verdict(c: Comparison) -> str:
    """How many differences are more than noise, and how many would be by chance alone."""
    every = c.tests()
    tests = [t for t in every if not t.few]
    few = f" {len(every) - len(tests)} more rest on too few to say." if len(tests) < len(every) else ""
    if not every:
        return "No question, dialogue, case or held-out document was answered by the same models on both sides: no difference is tested."
    more = sum(not t.noise for t in tests)
    return (
        f"{more} of {len(tests)} tested differences are more than noise (5 % level); "
        f"of so many, {0.05 * len(tests):.1f} would seem so by chance.{few}"
    )


def _missing(made: tuple[bool, bool]) -> str:
    return "made on one side only" if any(made) else "not made on either side"


def _numbers(group: Group, c: Comparison) -> Part:
    shown = [line for line in group.lines if line.changed or line.test]
    alike = len(group.lines) - len(shown)
    text = list(group.notes)
    if not group.lines:
        text.append("Not measured on either side.")
    elif alike:
        text.append(f"{alike:,} numbers are equal." if shown else f"All {alike:,} numbers are equal.")
    tested = any(line.test for line in shown)
    exact = any(line.test and line.test.method == MCNEMAR for line in shown)
    headers = [
        "",
        c.one,
        c.two,
        "Change",
        *(["95 % interval", *(["McNemar's p"] if exact else []), "In common", "This is"] if tested else []),
    ]
    rows = [[line.what, *_values(line), *(_test(line, exact) if tested else [])] for line in shown]
    return Part(group.title, text, [Table(headers, rows)] if rows else [])


def _values(line: Line) -> list[str]:
    form = _FORMS[line.form]
    change = ABSENT
    if line.one is not None and line.two is not None:
        apart = line.two - line.one
        change = (
            SAME
            if not apart
            else f"{100 * apart:+.1f} points"
            if line.form == "percent"
            else f"{'+' if apart > 0 else ''}{number(apart)}"
        )
        if line.form != "percent" and apart and line.one > 0:
            change += f" ({100 * apart / line.one:+.1f} %)"
    return [form(line.one), form(line.two), change]


def _test(line: Line, exact: bool) -> list[str]:
    test = line.test
    if test is None:
        return [""] * (4 if exact else 3)
    unit, sign = (100, ".1f") if line.form == "percent" else (1, ".3g")
    span = ABSENT if test.interval is None else " to ".join(f"{unit * v:+{sign}}" for v in test.interval)
    p = [number(test.p, 2) if test.method == MCNEMAR else ""] if exact else []
    common = f"{test.n:,}" if test.of == (test.n, test.n) else f"{test.n:,} (of {test.of[0]:,} and {test.of[1]:,})"
    return [span, *p, common, difference(test.noise, test.few)]


def page(c: Comparison) -> str:
    """The comparison as one HTML file that needs no network."""
    from aquilamed.report.html import fill

    return fill("compare.html.j2", c=c, parts=parts(c), verdict=verdict(c))
