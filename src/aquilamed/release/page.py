"""The page of a data release: what its card, LICENSE.md and croissant.json are filled from."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquilamed import __version__
from aquilamed.instruct.compose import PAPER_SHARE
from aquilamed.release import card, facts, forms, text
from aquilamed.release.rights import Rights
from aquilamed.release.tables import DataFile, Written
from aquilamed.release.wording import COLUMNS, WORDS, limitations
from aquilamed.report import preference_sections
from aquilamed.report.cells import Table, count
from aquilamed.workspace import Artifact

PLACE = "OWNER/NAME"
COUNTED = (("kind", "kind"), ("lang", "language"), ("source", "source"))
MOST_DISEASES = 15
COUNTED_TEXT = (("lang", "language"), ("domain", "domain"), ("source", "source"))


def _size(part: Written) -> str:
    splits = ", ".join(f"{count(n)} for {split}" for split, n in part.counts["split"].items())
    languages = ", ".join(f"{count(n)} in {text.cell(k)}" for k, n in part.counts["lang"].most_common(6))
    tokens = part.counts["tokens by lang"].total()
    return f"{count(part.records)} records{f', {count(tokens)} tokens' if tokens else ''} ({splits}; {languages})"


@dataclass(frozen=True)
class Page:
    """What the card, LICENSE.md and croissant.json are filled from."""

    out: Path
    found: facts.Facts
    what: str
    finals: list[Artifact]
    chain: list[Artifact]
    everything: list[Artifact]
    rights: Rights
    parts: list[Written]
    written: Written
    repository: str

    @property
    def title(self) -> str:
        return f"{self.found.recipe.name}-{self.what}"

    def total(self, name: str) -> Counter[str]:
        """A count over all tables of the release."""
        return sum((p.counts[name] for p in self.parts), Counter[str]())

    def summary(self) -> str:
        """What the set is and how large, in one sentence (one per mix)."""
        words = WORDS[self.what].noun
        if self.what != "corpus":
            return f"{words}: {_size(self.parts[0])}."
        mixes = zip(self.finals, self.parts, strict=True)
        told = "; ".join(f"{text.code(a.stage.partition('/')[2])} holds {_size(p)}" for a, p in mixes)
        return f"{words}. {told}. Tokens are counted by script: a Han character or a word is one."

    def alt(self) -> str:
        """The composition figure in words."""
        key, unit = ("tokens by domain", "tokens") if self.what == "corpus" else ("kind", "records")
        told = ", ".join(f"{text.bare(k)} {count(n)}" for k, n in self.total(key).most_common(8))
        return f"Composition of this release in {unit}: {told}"

    def readme(self) -> str:
        """README.md: the card."""
        words, restricted = WORDS[self.what], sum(self.rights.restricted().values())
        recipe, scores = self.found.recipe, facts.histograms(self.chain)
        main = next(f.config for f in self.written.files)
        return card.render(
            "dataset.md.j2",
            {
                "header": self.header(),
                "title": self.title,
                "purpose": words.purpose,
                "restricted": count(restricted) if restricted else "",
                "summary": self.summary(),
                "figure": (self.out / "figures" / "composition.png").exists(),
                "figure_alt": self.alt(),
                "configs_table": self.configs_table(),
                "repository": self.repository,
                "first_config": "" if main == "default" else f', "{main}"',
                "load_lines": [line.replace("OWNER/NAME", self.repository) for line in words.load],
                "trainer_text": words.trainer,
                "columns_table": self.columns_table(main),
                "splits_text": words.splits,
                "composition": self.composition(),
                "sources_table": card.sources_table(self.rights),
                "twice": self.what == "corpus",
                "left_out": count(self.rights.left_out.total()) if self.rights.left_out else "",
                "funnel_table": card.funnel_table(facts.funnel(self.chain)),
                "after_funnel": self.after_funnel(),
                "contamination_table": card.contamination_table(facts.contamination(self.chain)),
                "scores": (self.out / "figures" / "scores.png").exists(),
                "scores_alt": "Histograms of " + ", ".join(scores),
                "labels_table": card.labels_table(facts.labels(self.chain)),
                "labels_text": words.labels,
                "audit_text": preference_sections.TEXT if self.audit() else "",
                "audit_tables": [text.table(t) for t in self.audit()],
                "intended": words.intended,
                "limitations": limitations(self.chain, self.everything),
                "version": __version__,
                "recipe": text.code(recipe.name),
                "recipe_plain": recipe.name,
                "finished": facts.finished(self.finals),
                "until": self.finals[-1].stage,
                "what": self.what,
                "restricted_option": " --include-restricted" if self.rights.include_restricted else "",
                "stages_table": card.stages_table(self.everything),
            },
        )

    def audit(self) -> list[Table]:
        """Of a preference set: how it was judged, its audit, and what doctors said, as the report shows them."""
        if self.what != "preference":
            return []
        told = {k: self.found.run.metric(f"prefer/{k}") for k in ("subjective", "objective", "select")}
        return preference_sections.preferences({"preferences": told})

    def header(self) -> str:
        words = WORDS[self.what]
        names = {name for _, name in self.rights.released}
        allowed = card.license_header(names if not self.rights.restricted() else ["restricted"])
        configs: list[dict[str, Any]] = []
        infos: list[dict[str, Any]] = []
        tables = self.written.tables()
        for config in dict.fromkeys(c for c, _ in tables):
            mine = {split: files for (c, split), files in tables.items() if c == config}
            data_files = [
                {"split": s, "path": f"{f[0].path.rpartition('/')[0]}/{s}-*.parquet"} for s, f in mine.items()
            ]
            configs.append({"config_name": config, "data_files": data_files} | ({} if configs else {"default": True}))
            told = [
                {"name": s, "num_bytes": sum(f.bytes for f in files), "num_examples": sum(f.rows for f in files)}
                for s, files in mine.items()
            ]
            infos.append(
                {"config_name": config, "features": forms.features(self.written.schemas[config]), "splits": told}
            )
        return card.header(
            {
                "pretty_name": self.title,
                **allowed,
                "language": card.languages(self.total("lang")),
                "task_categories": words.tasks,
                "size_categories": [card.size_category(self.total("split").total())],
                "tags": [
                    "medical",
                    *words.tags,
                    *(["restricted-sources"] if self.rights.restricted() else []),
                    "aquilamed",
                ],
                "configs": configs,
                "dataset_info": infos,
            }
        )

    def configs_table(self) -> str:
        """Files by config, split and format, shards together."""
        groups: dict[tuple[str, str, str], list[DataFile]] = {}
        for f in self.written.files:
            groups.setdefault((f.config, f.split, f.format), []).append(f)
        body = []
        for (config, split, format), files in groups.items():
            pattern = files[0].path if len(files) == 1 else f"{files[0].path.rpartition('/')[0]}/{split}-*.{format}"
            words = [text.code(config), text.cell(split), text.code(pattern)]
            body.append([*words, count(len(files)), count(sum(f.rows for f in files))])
        return text.rows(["Config", "Split", "Files", "Number", "Records"], body, 3)

    def columns_table(self, main: str) -> str:
        names = [(c, f) for c, schema in self.written.schemas.items() for f in schema]
        body, seen = [], set()
        for config, field in names:
            if field.name in seen and config != main:
                continue
            seen.add(field.name)
            body.append(
                [text.code(field.name), text.code(config), COLUMNS.get(field.name, "added by a stage of the recipe")]
            )
        return text.rows(["Column", "In config", "What it holds"], body, 3)

    def composition(self) -> list[str]:
        paper = (self.finals[-1].metrics.get("paper_share") or PAPER_SHARE) if self.what == "instruct" else None
        if self.what != "corpus":
            tables = [card.counts_table("Kind", self.total("kind"), "Records", paper)]
            tables.append(card.counts_table("Language", self.total("lang"), "Records"))
            if departments := self.total("department"):
                tables.append(card.counts_table("Department", departments, "Records"))
            if diseases := self.total("diseases"):
                often = dict(diseases.most_common(MOST_DISEASES))
                tables.append(f"{count(len(diseases))} diseases are named, most often:")
                tables.append(card.counts_table("Disease", often, "Records", total=self.total("split").total()))
            return tables
        tables = []
        for artifact, part in zip(self.finals, self.parts, strict=True):
            mix = artifact.stage.partition("/")[2]
            for key, title in COUNTED_TEXT:
                tables.append(card.counts_table(f"{mix}, by {title}", part.counts[f"tokens by {key}"], "Tokens"))
        return tables

    def after_funnel(self) -> str:
        told = " and ".join(f"{text.code(a.stage)} kept {count(a.manifest['records_kept'])}" for a in self.finals)
        left = self.rights.left_out.total()
        return f"{told}; {count(left)} of these were left out here for their licence." if left else f"{told}."

    def licenses(self) -> str:
        """LICENSE.md: whose records these are, and on what conditions."""
        restricted = sum(self.rights.restricted().values())
        return card.render(
            "license.md.j2",
            {
                "intro": "Every record keeps its source's licence (columns `source` and `license`). The collection adds no terms.",
                "table": card.licenses_table(self.rights),
                "restricted": count(restricted) if restricted else "",
                "outro": "Records were cleaned, masked, scored and selected: they are changed against their sources. "
                "The program that made them (aquilamed) is under Apache-2.0.",
            },
        )

    def about(self) -> dict[str, Any]:
        """The head of croissant.json."""
        licenses = [self.rights.license(name) for name in sorted({name for _, name in self.rights.released})]
        finished = facts.finished(self.finals)
        return {
            "name": self.title,
            "description": f"{self.summary().replace('`', '')} Not a medical device.",
            "license": [one.url if text.is_address(one.url) else text.one_line(one.name) for one in licenses],
            "url": f"https://huggingface.co/datasets/{self.repository}" if self.repository != PLACE else "",
            "version": f"1.0.0+{self.finals[-1].manifest['fingerprint']}",
            "datePublished": finished[:10],
            "dateCreated": finished[:10],
            "inLanguage": card.languages(self.total("lang")),
            "keywords": ["medical", *WORDS[self.what].tags],
            "citeAs": "https://arxiv.org/abs/2406.12182",
        }
