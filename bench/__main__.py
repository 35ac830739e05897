"""Run benchmarks one after the other. Print their tables and write them into RESULTS.md, with versions and the date.

`python -m bench` runs all benchmarks, `python -m bench kit_overhead gateway` only these. In RESULTS.md, only the text
between the marks of a benchmark is replaced.
"""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "sqlalchemy", "pydantic")


OTHERS = ("soak",)
"""Programs that print no table for RESULTS.md: run them by their path."""


def programs() -> list[str]:
    return sorted(
        path.stem
        for path in HERE.glob("*.py")
        if path.stem not in {"__main__", *OTHERS} and '\nif __name__ == "__main__":' in path.read_text()
    )


def run(name: str) -> str:
    """Run the benchmark and return its output. Raises CalledProcessError."""
    folders = os.pathsep.join([str(HERE.parent / "src"), str(HERE.parent)])
    environ = {**os.environ, "PYTHONPATH": folders}
    command = [sys.executable, str(HERE / f"{name}.py")]
    return subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def circumstances() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, {versions}"


def put(text: str, name: str, output: str) -> str:
    """Return the text of RESULTS.md with a new block for the benchmark `name`. A first block is added at the end."""
    block = f"<!-- {name} -->\n{circumstances()}\n\n```\n{output}\n```\n<!-- end of {name} -->"
    marked = re.compile(rf"<!-- {name} -->.*?<!-- end of {name} -->", re.DOTALL)
    if marked.search(text):
        return marked.sub(lambda _: block, text)
    return f"{text.rstrip()}\n\n## `python -m bench {name}`\n\n{block}\n"


def main(names: list[str]) -> None:
    for name in names or programs():
        print(f"{name} …", flush=True)
        output = run(name)
        print(f"\n{output}\n", flush=True)
        RESULTS.write_text(put(RESULTS.read_text(), name, output))


if __name__ == "__main__":
    known = programs()
    if unknown := set(sys.argv[1:]) - set(known):
        sys.exit(f"No such benchmark: {', '.join(sorted(unknown))}. There are {', '.join(known)}.")
    main(sys.argv[1:])
