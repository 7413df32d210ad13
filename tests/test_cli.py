"""The commands: exit codes, JSON on stdout, and that nothing heavy is imported for what only looks."""

import json
import os
import subprocess
import sys
from pathlib import Path

RECIPE = """\
name: small
sources:
  documents:
    max_bad_share: 0.5
    sources:
      - {name: web, path: web.jsonl}
"""


def aquilamed(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aquilamed.cli", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def prepare(folder: Path) -> None:
    text = "A patient with fever, cough and breathlessness needs a careful history and an examination of the chest. "
    lines = [json.dumps({"text": f"{text * 3} Case {n}."}) for n in range(8)]
    (folder / "web.jsonl").write_text("\n".join([*lines, "{broken", '{"text": ""}', '{"text": "\\u001b[31mred"}']))
    (folder / "recipe.yaml").write_text(RECIPE)


def test_version_and_help(tmp_path: Path) -> None:
    assert aquilamed("--version", cwd=tmp_path).stdout.startswith("aquilamed ")
    assert "recipe" in aquilamed("--help", cwd=tmp_path).stdout


def test_a_wrong_recipe_exits_2_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(RECIPE.replace("path:", "paht:"))
    done = aquilamed("run", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "bad.yaml:6: sources.documents.sources.0.paht: unknown key; did you mean 'path'?" in done.stderr
    (tmp_path / "missing.yaml").write_text(RECIPE)
    done = aquilamed("run", "missing.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "no file matches 'web.jsonl'" in done.stderr


def test_run_status_and_dropped(tmp_path: Path) -> None:
    prepare(tmp_path)
    done = aquilamed("run", "recipe.yaml", "--until", "corpus/rules", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "progress belongs on stderr"
    status = {
        row["stage"]: row for row in json.loads(aquilamed("status", "workspaces/small", "--json", cwd=tmp_path).stdout)
    }
    assert status["sources/documents"]["records_in"] == 11
    assert status["corpus/rules"]["state"] == "done"
    assert status["corpus/pii"]["state"] == "waiting"
    lines = aquilamed("dropped", "workspaces/small", "sources/documents", "--json", cwd=tmp_path).stdout.splitlines()
    reasons = sorted(json.loads(line)["reason"] for line in lines)
    assert reasons == ["sources.empty", "sources.malformed"]
    assert "web.jsonl:9" in lines[0] + lines[1]
    table = aquilamed("dropped", "workspaces/small", "corpus/rules", cwd=tmp_path).stdout
    assert "\x1b[31m" not in table, "a terminal's control sequence in a text is not shown as one"
    plan = json.loads(aquilamed("plan", "recipe.yaml", "--json", cwd=tmp_path).stdout)
    actions = {row["stage"]: row["action"] for row in plan["stages"]}
    assert (actions["corpus/rules"], actions["corpus/pii"]) == ("skip", "run")


def test_unknown_stage_and_workspace_exit_2(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert aquilamed("status", "nowhere", cwd=tmp_path).returncode == 2
    done = aquilamed("run", "recipe.yaml", "--until", "corpus/rulez", cwd=tmp_path)
    assert done.returncode == 2
    assert "no stage 'corpus/rulez'" in done.stderr


def test_schema_describes_itself(tmp_path: Path) -> None:
    schema = json.loads(aquilamed("recipe", "schema", cwd=tmp_path).stdout)
    assert schema["properties"]["seed"]["default"] == 42


def test_status_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, aquilamed.pipeline; print([m for m in ('torch', 'transformers', 'sklearn', 'matplotlib', 'datasets') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_doctor_looks_at_the_machine(tmp_path: Path) -> None:
    found = json.loads(aquilamed("doctor", "--json", cwd=tmp_path).stdout)
    assert found["cores"] >= 1
    assert found["torch"][0].isdigit()
