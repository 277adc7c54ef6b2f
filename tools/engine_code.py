"""Which code was measured: its commit, and a hash of each engine's files.

The hashes are taken of the files that Python imports, so they hold for an installed package and for
changes that were never committed, too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import munit_edge
from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.system.child import ProgramTimeoutError, run_program

CHECKOUT = Path(__file__).resolve().parents[1]
INSTALLED = Path(munit_edge.__file__).parent
"""The package that Python imports: that of a checkout, or one in site-packages."""
SHARED = "shared"
"""The files that lie beside the engines' folders and serve several of them."""
UNKNOWN = "unknown"
_ROOMS = ("munit_edge", "engines", "export", "trainer")


class Source(NamedTuple):
    """Where the code comes from."""

    commit: str
    """Hash of the commit; "unknown": there is neither a git checkout nor a package from git."""
    modified: bool
    """Whether tracked files differ from the commit."""


def engine_folder(engine: str) -> str:
    """Name of the folder of an engine's code; of an engine that is gone the engine's own name."""
    for name, row in ENGINE_FACTS.items():
        if name == engine:
            module, _, _ = row.opener.partition(":")
            return module.removeprefix("munit_edge.engines.").partition(".")[0]
    return engine


def engine_hashes(package: Path = INSTALLED) -> dict[str, str]:
    """SHA-256 of the files of each engine's folder, and of the shared files, by folder.

    Args:
        package: the folder `munit_edge`, of a checkout or installed.
    """
    digests: dict[str, Any] = {}
    for path, digest in _code_files(package).items():
        top, *rest = path.split("/")
        if top == "engines":
            folder = rest[0] if len(rest) > 1 else SHARED
            digests.setdefault(folder, hashlib.sha256()).update(f"{path} {digest}\n".encode())
    return {folder: digests[folder].hexdigest() for folder in sorted(digests)}


def source(
    checkout: Path = CHECKOUT,
    package: Path = INSTALLED,
    installed_from: Mapping[str, Any] | None = None,
) -> Source:
    """The commit of the code that is imported.

    Args:
        checkout: folder of the checkout. Its commit counts only if the imported package has the
            same files: another version may be installed.
        package: what Python imports.
        installed_from: what pip noted about the package's origin (PEP 610); None: looked up.
    """
    own = checkout / "munit_edge"
    if _git(checkout, "rev-parse", "--show-toplevel") == str(checkout) and (
        _code_files(own) == _code_files(package)
    ):
        commit = _git(checkout, "rev-parse", "HEAD")
        changes = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", *_ROOMS)
        if commit and changes is not None:
            return Source(commit, modified=bool(changes))
    noted = _direct_url() if installed_from is None else installed_from
    return Source(noted.get("vcs_info", {}).get("commit_id", UNKNOWN), modified=False)


def _code_files(package: Path) -> dict[str, str]:
    """Hash of every Python file, by its path below the package, in a fixed order."""
    found = {}
    for folder, _, names in os.walk(package, followlinks=True):  # a checkout has links to its rooms
        for name in names:
            file = Path(folder, name)
            if file.suffix == ".py":
                path = file.relative_to(package).as_posix()
                found[path] = hashlib.sha256(file.read_bytes()).hexdigest()
    return dict(sorted(found.items()))


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it is missing, hangs or fails."""
    try:
        done = run_program(["git", "-C", str(folder), *arguments])
    except ProgramTimeoutError:
        return None
    return done.stdout.strip() if done is not None and not done.returncode else None


def _direct_url() -> dict[str, Any]:
    try:
        text = importlib.metadata.distribution("munit-edge").read_text("direct_url.json")
        noted = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
