"""The import contract of families sees what it should: a wrong import in a tree made for it is named."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
[tool.importlinter]
root_packages = ["house"]
contract_types = ["families: tests.families_contract.FamiliesContract"]

[[tool.importlinter.contracts]]
name = "Families"
type = "families"
package = "house"
mark = "stages"
above = ["house.analyses"]
kit = ["house.kit"]
"""
TREE = {
    "kit/__init__.py": "",
    "kit/rows.py": "",
    "analyses/__init__.py": "from house.birds import stages\n",
    "birds/__init__.py": "",
    "birds/stages.py": "from house.kit import rows\n",
    "trees/__init__.py": "",
    "trees/stages.py": "from house.kit import rows\n",
}


def checked(folder: Path, **changed: str) -> tuple[int, str]:
    """Return exit status and words of import-linter on the tree with some files changed."""
    for name, text in {**TREE, **{each.replace("__", "/", 1) + ".py": text for each, text in changed.items()}}.items():
        path = folder / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "house" / "__init__.py").write_text("")
    (folder / "pyproject.toml").write_text(CONFIG)
    (folder / "tests").mkdir()
    (folder / "tests" / "families_contract.py").write_text((ROOT / "tests" / "families_contract.py").read_text())
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_right_tree_is_kept(tmp_path: Path) -> None:
    code, said = checked(tmp_path)
    assert code == 0, said
    assert "1 kept, 0 broken" in said


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"birds__stages": "from house import trees\n"}, "house.trees is imported from house.birds"),
        ({"kit__rows": "from house.birds import stages\n"}, "house.birds is imported from house.kit"),
        ({"birds__stages": "from house import analyses\n", "analyses____init__": ""}, "house.analyses is imported"),
        ({"shed____init__": ""}, "house.shed is neither a family"),
    ],
)
def test_a_wrong_import_is_named(tmp_path: Path, changed: dict[str, str], words: str) -> None:
    code, said = checked(tmp_path, **changed)
    assert code == 1, said
    assert words in said
