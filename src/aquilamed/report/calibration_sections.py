"""The report's section on the judges: how far they agree with people, and what they favour."""

from typing import Any

from aquilamed.printable import printable
from aquilamed.report.cells import Table, between, called, count, get, percent, points

NOTE = (
    "Every judge compared, in both orders, the pairs of answers that people had judged. κ is Cohen's; a judge agrees with "
    "people as well as people do when its κ with them is that of people among themselves."
)


def calibration(s: dict[str, Any]) -> list[Table]:
    """Agreement with people beside agreement among judges, bias for a position, preference for answers of their own."""
    told = s["calibration"]
    if not get(told, "pairs"):
        return []
    agree = [
        [
            *(" and ".join(printable(j) for j in a["judges"]), percent(a["equal"])),
            *(between(a["kappa"], a["kappa_interval"]), count(a["answered"])),
        ]
        for a in (*told["with_people"], *told["among"])
    ]
    bias = [
        [called(j["judge"]), *(points(j["position"][k]) for k in ("first", "second", "agree")), count(j["unscored"])]
        for j in told["judges"]
    ]
    own = [
        [
            *(called(p["judge"]), percent(p["given"]), percent(p["others"])),
            *(points({"share": p["difference"], "interval": p["interval"]}), count(p["n"])),
        ]
        for p in told["self_preference"]
    ]
    tables = [
        Table(["Who", "Equal", "κ (95 % interval)", "Pairs"], agree, 1, "Judges with people, then among themselves"),
        Table(["Judge", "First in both, %", "Second in both, %", "Orders agree, %", "Unscored"], bias, 1, "Position"),
    ]
    headers = ["Judge", "Win rate it gives its own", "People and the others give", "Difference, points", "Pairs"]
    return [*tables, Table(headers, own, 1, "Self-preference")] if own else tables
