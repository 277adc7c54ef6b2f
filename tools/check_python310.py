"""Check that Python 3.10 can install what a device needs, without a Python 3.10.

JetPack 6 has no other Python, and packages leave it one by one. pip resolves for another Python
when asked to, but evaluates the markers of what it is given for the Python that it runs on. So this
program evaluates requirements and constraints itself and hands pip what remains. Markers deeper
down (of the dependencies of dependencies) are still read for the running Python.

Asks the package index and installs nothing. Exit code 1 when something cannot be installed or is
not pinned.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHON_VERSION = "3.10"
GLIBC_MINOR = 35  # Ubuntu 22.04, on which JetPack 6 stands
CASES = {  # machine -> extras; "" is the base, which every case has
    "x86_64": ("", "cpu", "gpu", "openvino", "trt", "video"),
    "aarch64": ("", "cpu", "openvino", "trt", "video"),
}
NO_WHEEL = {"tensorrt": "its package is a source archive that fetches the vendor's wheel"}
FOLLOW_THE_DRIVER = ("cuda-", "nvidia-")  # how packages begin that are not pinned


def main() -> int:
    failures = 0
    for machine, extras in CASES.items():
        constraints = _plain((ROOT / "constraints.txt").read_text().splitlines(), machine, "")
        for extra in extras:
            name = f"munit-edge[{extra}]" if extra else "munit-edge"
            requirements = _plain(importlib.metadata.requires("munit-edge") or (), machine, extra)
            left_out = [r.name for r in requirements if r.name in NO_WHEEL]
            requirements = [r for r in requirements if r.name not in NO_WHEEL]
            problem, versions = _resolve(requirements, constraints, machine)
            failures += bool(problem)
            direct = ", ".join(
                f"{r.name} {versions.get(canonicalize_name(r.name))}" for r in requirements
            )
            print(f"{name} on Python {PYTHON_VERSION}, {machine}: {problem or direct}")
            for package in left_out:
                print(f"  {package} not checked: {NO_WHEEL[package]}")
    return 1 if failures else 0


def _plain(lines: Iterable[str], machine: str, extra: str) -> list[Requirement]:
    """The requirements whose marker holds on the device, without their markers."""
    environment = {
        "python_version": PYTHON_VERSION,
        "python_full_version": f"{PYTHON_VERSION}.12",
        "platform_machine": machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "extra": extra,
    }
    kept = []
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            requirement.marker = None
            kept.append(requirement)
    return kept


def _resolve(
    requirements: list[Requirement], constraints: list[Requirement], machine: str
) -> tuple[str, dict[str, str]]:
    """Ask pip: a problem or "", and the version of each package that it would install."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(5, GLIBC_MINOR + 1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "constraints.txt"
        pins.write_text("\n".join(map(str, constraints)))
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--disable-pip-version-check", "--ignore-installed", "--only-binary=:all:"]
        command += ["--python-version", PYTHON_VERSION, "--target", folder]
        command += [f"--platform={platform}" for platform in platforms]
        command += ["--report", str(report), "-c", str(pins), *map(str, requirements)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return "; ".join(errors) or done.stderr.strip(), {}
        installs = json.loads(report.read_text())["install"]
    found = (install["metadata"] for install in installs)
    versions = {str(canonicalize_name(m["name"])): str(m["version"]) for m in found}
    pinned = {canonicalize_name(constraint.name) for constraint in constraints}
    unpinned = sorted(
        name for name in versions.keys() - pinned if not name.startswith(FOLLOW_THE_DRIVER)
    )
    return f"not in constraints.txt: {', '.join(unpinned)}" if unpinned else "", versions


if __name__ == "__main__":
    sys.exit(main())
