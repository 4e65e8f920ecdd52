"""Small packages made in a folder and installed there by pip, as plug-ins are."""

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

SOURCES = Path(__file__).parent / "plugins"


def sources_of(package: str) -> dict[str, str]:
    """Return the files of a package that lies beside the tests, by their path in the installation."""
    folder = SOURCES / package
    return {
        str(path.relative_to(SOURCES)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".html")
    }


def install(folder: Path, name: str, files: Mapping[str, str], entry_points: Mapping[str, str]) -> Path:
    """Install a distribution that has these files and plug-ins into a folder, for PYTHONPATH; return the folder.

    Parameters
    ----------
    folder : where it is installed
    name : of the distribution
    files : text by path
    entry_points : module by name of the plug-in
    """
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    lines = [f"{plugin} = {module}" for plugin, module in entry_points.items()]
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "\n".join(["[xv.plugins]", *lines, ""]),
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, **metadata}.items():
            archive.writestr(path, text)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    wheel.unlink()
    return folder
