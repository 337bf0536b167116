"""An environment for each contender, because they ask for versions that exclude one another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from contenders import Contender

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-bench"


class NotInstalled(Exception):
    """Say why a contender cannot take part."""


def python_of(contender: Contender) -> str:
    """Give the interpreter of a contender; the first time, make its environment."""
    folder = FOLDER / contender.requirement.replace(".", "modelwrap", contender.requirement[0] == ".")
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = contender.requirement
    if wanted.startswith("."):
        wanted += "\n" + (ROOT / "pyproject.toml").read_text("utf-8")
    if not (stamp.exists() and stamp.read_text("utf-8") == wanted):
        print(f"installing {contender.name}", file=sys.stderr, flush=True)
        run([sys.executable, "-m", "venv", "--clear", str(folder)])
        editable = ["--editable"] if contender.requirement.startswith(".") else []
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
        run([*pip, *editable, contender.requirement])
        stamp.write_text(wanted, "utf-8")
    return str(python)


def run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(last_line(done.stderr))


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def variables() -> dict[str, str]:
    """Give the environment variables of a measured process: compiled bytecode, no proxy, nothing fetched on import."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(FOLDER / "bytecode"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
