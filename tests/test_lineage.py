"""A stage's code fingerprint changes with what it does and not with what it says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aquilamed

PACKAGE = Path(aquilamed.__file__).parent
PRINT_HASH = "from aquilamed.lineage import code_hash; print(code_hash('aquilamed.corpus.rules'))"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "aquilamed", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def code_hash(root: Path) -> str:
    out = subprocess.run([sys.executable, "-c", PRINT_HASH], cwd=root, capture_output=True, text=True, check=True)
    return out.stdout.strip()


def test_comments_and_docstrings_do_not_count_but_code_and_reached_modules_do(copy: Path) -> None:
    rules = copy / "aquilamed" / "corpus" / "rules.py"
    before = code_hash(copy)
    text = rules.read_text()
    rules.write_text('"""Another docstring."""\n# a comment\n' + text.split('"""', 2)[2])
    assert code_hash(copy) == before
    rules.write_text(text + "\nADDED = 1\n")
    changed = code_hash(copy)
    assert changed != before
    records = copy / "aquilamed" / "records.py"
    records.write_text(records.read_text() + "\nADDED = 1\n")
    assert code_hash(copy) not in (before, changed)


def test_a_module_that_is_not_reached_does_not_count(copy: Path) -> None:
    before = code_hash(copy)
    other = copy / "aquilamed" / "train" / "align.py"
    other.write_text(other.read_text() + "\nADDED = 1\n")
    assert code_hash(copy) == before


def test_a_packages_data_files_count(copy: Path) -> None:
    before = code_hash(copy)
    lexicon = next((copy / "aquilamed" / "corpus" / "lexicon").iterdir())
    lexicon.write_text(lexicon.read_text() + "\nnewterm\n")
    assert code_hash(copy) != before
