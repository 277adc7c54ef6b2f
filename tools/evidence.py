"""Evidence of GPUs: the files that `make gpu-check` writes, and what the pages quote of them.

    python tools/evidence.py [FILE ...]

Without FILE it checks every file in docs/evidence and regenerates the blocks of the pages, which
stand between two comments, each on a line of its own:

    <!-- evidence: FILE -->         the numbers of docs/evidence/FILE
    <!-- evidence: all -->          the list of all files, and whether the code has changed since
    <!-- end of evidence -->

With FILE it only checks whether these files can be kept. Exit code 1: a file or a block is wrong.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from engine_code import CHECKOUT, SHARED, UNKNOWN, engine_folder, engine_hashes
from pydantic import Field, StringConstraints, field_validator, model_validator

from munit_edge.errors import ConfigError, InputError, MunitEdgeError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.plain_data import read_json
from munit_edge.model.config import ModelConfig
from munit_edge.settings import StrictModel, validate
from munit_edge.system.latency import Latency

FOLDER = CHECKOUT / "docs" / "evidence"
ALL = "all"
END = "<!-- end of evidence -->"
NO_FILES = "No files yet: **not measured**."
MAX_FAULT = 500

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

# Libraries put paths into their messages, and paths hold names of people.
_ADDRESS = re.compile(r"\b[a-z]+://[^\s'\")]+")
_PATH = re.compile(r"(?<![\w./>])[/\\](?:[^\s/\\'\":;,()]+[/\\])+([^\s/\\'\":;,()]*)")
_UUID = re.compile(r"\b(?:GPU-|MIG-)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_HOST_IS = re.compile(r"\bhostname=\S+")
_BLOCK = re.compile(
    rf"^<!-- evidence: (\S+) -->\n(.*?)(?:^{re.escape(END)}$|(?=^<!-- evidence: )|\Z)",
    re.DOTALL | re.MULTILINE,
)


class Row(StrictModel):
    """One graph, or one whole translation, on one engine."""

    engine: str
    """Engine."""
    precision: str
    """Of the graphs; "tf32": fp32 weights, and torch's own default on a GPU."""
    graph: str
    """`content_encoder_a`, `style_encoder_b`, `decoder_b` or the translation `a2b`."""
    reference: str
    """What it is compared with, such as "onnxruntime fp32 on the CPU"."""
    worst: float | None = None
    """Largest difference from it: 8-bit levels of an image, absolute of a code. None: the shape
    differs, or a number is not finite."""
    tolerance: float | None = None
    """Largest difference that passes; None: not judged, as in reduced precision."""
    latency: Latency
    """Host memory to host memory."""
    clock_mhz: int | None = None
    """Clock of the GPU while this was running; None: not reported."""

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed."""
        return self.worst is not None and (self.tolerance is None or self.worst <= self.tolerance)


class NotRun(StrictModel):
    """An engine in a precision that gave no numbers."""

    engine: str
    """Which."""
    precision: str
    """Of the graphs."""
    why: str
    """Its own words, without paths and names."""


class Card(StrictModel):
    """The GPU."""

    name: str
    """Product name."""
    compute_capability: str
    """Such as "8.7"."""
    memory_mib: int | None
    """Memory in MiB; None where it is shared with the processor."""
    driver: str
    """Version of the driver; "" where it is not reported."""
    cuda: str
    """Newest CUDA that the driver can run."""
    max_clock_mhz: int | None
    """Highest clock that the settings allow; None: not reported."""


class Host(StrictModel):
    """The machine around the GPU."""

    system: str
    """Such as "Linux"."""
    instruction_set: str
    """Such as "x86_64"."""
    processor: str
    """Model of the processor; "" where it is not reported."""
    num_cores: int
    """Logical cores."""
    board: str
    """A Jetson's name in the device tree; "" on other machines."""
    l4t: str
    """Release of Jetson Linux; "" on other machines."""
    jetpack: str
    """Release of JetPack; "" on other machines."""
    python: str
    """Version of Python."""
    power_modes: tuple[str, ...]
    """Settings that limit the speed."""
    load_average: tuple[float, float]
    """Of one minute, before and after the measurements."""


class Backend(StrictModel):
    """An engine's library."""

    version: str
    """Its version."""
    cuda: str | None
    """CUDA that it was built with; None: built without, or unknown."""
    gpu_fault: str | None
    """Why it cannot use the GPU; None: it can, or is not made for one."""


class Code(StrictModel):
    """What was measured."""

    version: str
    """Of munit-edge."""
    commit: Annotated[
        str, StringConstraints(pattern=rf"^([0-9a-f]{{40}}|[0-9a-f]{{64}}|{UNKNOWN})$")
    ]
    """Of the code; "unknown": there was neither a git checkout nor a package from git."""
    modified: bool
    """Whether the code had changes that are in no commit."""
    engines: dict[str, Sha256]
    """Hash of the files of each engine's folder, and of those that the engines share."""


class Subject(StrictModel):
    """The model that was measured."""

    config: ModelConfig
    """The networks."""
    sha256: Sha256
    """Hash of configuration and weights, the same in every export."""
    seeded: bool
    """Whether it was made for the measurement, with random weights from a fixed seed."""
    graphs: dict[str, dict[str, Sha256]]
    """Hashes of the graphs (`GraphEntry.content_sha256`) by name, by precision."""


class Evidence(StrictModel):
    """The JSON file. It is made to be published: it holds no paths, and no names of people or
    machines."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    created: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]
    """Date and time, UTC, ISO 8601."""
    seconds: float
    """Duration of the whole check."""
    device: Annotated[str, StringConstraints(pattern=r"^(cpu|cuda:\d+)$")]
    """Where the engines ran; "cpu" is a trial of the script, and no evidence."""
    size: int = Field(ge=1)
    """Height and width of the image, in pixels."""
    batch: int = Field(ge=1)
    """Images in a call."""
    card: Card | None
    """None: it ran on the CPU."""
    host: Host
    """The machine."""
    backends: dict[str, Backend]
    """Libraries by name."""
    packages: dict[str, str]
    """Relevant installed distributions, and their versions."""
    code: Code
    """What was measured."""
    subject: Subject | None
    """None: only the self-test was run, since there was no model and no torch to make one."""
    rows: tuple[Row, ...]
    """The measurements of `subject`."""
    selftest: tuple[Row, ...]
    """The same for the tiny model that munit-edge contains, in every precision: for the
    differences, since its latencies say nothing about other models."""
    failures: tuple[NotRun, ...]
    """What failed."""
    not_run: tuple[NotRun, ...]
    """What was left out, and why."""

    @model_validator(mode="after")
    def _check(self) -> Evidence:
        if (self.card is None) != (self.device == "cpu"):
            raise ValueError(f"device is {self.device}, and card is {self.card}")
        unknown = {engine_folder(row.engine) for row in (*self.rows, *self.selftest)}
        if missing := sorted((unknown | {SHARED}) - set(self.code.engines)):
            raise ValueError(f"code.engines has no hash of {', '.join(missing)}")
        if self.rows and self.subject is None:
            raise ValueError("rows are given without the subject that they measure")
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _hold_nothing_private(cls, value: Any) -> Any:
        for text in _texts(value):
            if found := _PATH.search(text) or _UUID.search(text) or _HOST_IS.search(text):
                raise ValueError(
                    f"'{found[0]}' is a path, or the number or name of a machine: take it out"
                )
        return value

    @property
    def passed(self) -> bool:
        """Whether everything that was run agrees with its reference."""
        return not self.failures and all(row.passed for row in (*self.rows, *self.selftest))

    @property
    def file_name(self) -> str:
        """Name for the file: the card and the day."""
        name = self.card.name if self.card else "cpu"
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        return f"{slug}-{self.created[:10]}.json"


def scrubbed(text: str, names: Sequence[str] | None = None) -> str:
    """A message on one line, without what says whose machine it comes from.

    Args:
        text: such as the words of an exception.
        names: names to take out in addition; None: the user's and the machine's.
    """
    text = " ".join(text.split())
    text = _HOST_IS.sub("", _UUID.sub("<id>", _ADDRESS.sub("<address>", text)))
    text = _PATH.sub(_without_folders, text)
    for name in own_names() if names is None else names:
        text = re.sub(rf"(?<![\w]){re.escape(name)}(?![\w])", "<name>", text)
    return " ".join(text.split())[:MAX_FAULT]


def own_names() -> list[str]:
    """Names of the user and of this machine, longest first."""
    names = {socket.gethostname(), socket.gethostname().partition(".")[0], Path.home().name}
    with contextlib.suppress(KeyError, OSError):  # a user without a name, as in a container
        names.add(getpass.getuser())
    return sorted(names - {""}, key=len, reverse=True)


def read_evidence(path: Path) -> Evidence:
    """Read and check a file.

    Raises:
        ConfigError: it cannot be read, does not have the layout, or holds what may not be
            published.
    """
    return validate(Evidence, read_json(path), str(path))


def keepable(path: Path) -> Evidence:
    """Read a file that is kept in docs/evidence.

    Raises:
        ConfigError: as of `read_evidence`.
        InputError: it is not evidence of a GPU, or has another name than it should.
    """
    evidence = read_evidence(path)
    if evidence.device == "cpu":
        raise InputError(f"{path} was made on a CPU, which tries the script only: leave it out")
    if not evidence.rows and not evidence.selftest:
        raise InputError(f"{path} holds no measurement: leave it out")
    wanted = evidence.file_name
    if re.sub(r"-\d+(?=\.json$)", "", path.name) != wanted and path.name != wanted:
        raise InputError(f"{path} is evidence of another card or day: name it {wanted}")
    return evidence


def kept(folder: Path = FOLDER) -> dict[str, Evidence]:
    """Every file of docs/evidence, by name.

    Raises:
        InputError, ConfigError: as of `keepable`.
    """
    return {path.name: keepable(path) for path in sorted(folder.glob("*.json"))}


def code_since(evidence: Evidence, now: Mapping[str, str]) -> dict[str, str]:
    """Whether the code of each measured engine is still the same: "same", "changed" or "gone".

    Args:
        evidence: the measurement.
        now: hashes of today's code (`engine_hashes`).
    """
    then = evidence.code.engines
    states = {}
    for engine in dict.fromkeys(row.engine for row in (*evidence.rows, *evidence.selftest)):
        folder = engine_folder(engine)
        same = all(then[name] == now.get(name) for name in (folder, SHARED))
        states[engine] = "same" if same else "changed" if folder in now else "gone"
    return states


def listing(files: Mapping[str, Evidence], now: Mapping[str, str]) -> str:
    """The table of all files, in Markdown."""
    if not files:
        return f"{NO_FILES}\n"
    lines = [
        "| file | card | driver, CUDA | commit | engines: precisions | code since | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, evidence in files.items():
        assert evidence.card  # `keepable`
        board = f", {evidence.host.board}" if evidence.host.board else ""
        states = code_since(evidence, now)
        code = "; ".join(
            f"{state}: {', '.join(e for e in states if states[e] == state)}"
            for state in dict.fromkeys(states.values())
        )
        result = "all agree" if evidence.passed else "differences or failures"
        cells = (
            f"[{name}]({name})",
            f"{evidence.card.name}{board}",
            f"{evidence.card.driver or 'unknown'}, {evidence.card.cuda}",
            _commit(evidence.code),
            "; ".join(_measured(evidence)),
            code,
            result,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def quotation(evidence: Evidence, link: str) -> str:
    """The numbers of one file, in Markdown.

    Args:
        evidence: the file's contents.
        link: path of the file from the page.
    """
    card, host = evidence.card, evidence.host
    assert card  # `keepable`
    subject = "only the self-test's tiny model"
    if evidence.subject:
        config = evidence.subject.config
        subject = f"`{config.architecture}` of width {config.width}"
    modes = f"; {', '.join(host.power_modes)}" if host.power_modes else ""
    board = f" ({host.board})" if host.board else ""
    lines = [
        f"{card.name}{board}, driver {card.driver or 'unknown'}, "
        f"{evidence.created[:10]}, commit {_commit(evidence.code)}{modes}: {subject}, "
        f"{evidence.size} x {evidence.size} pixels, batch {evidence.batch}, host memory to host "
        f"memory ([file]({link})).",
        "",
        "| engine | precision | graph | p50 ms | p95 ms | n | MHz | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in evidence.rows or evidence.selftest:
        latency, clock = row.latency, row.clock_mhz
        lines.append(
            f"| {row.engine} | {row.precision} | {row.graph} | {latency.p50_ms:.3f} | "
            f"{latency.p95_ms:.3f} | {latency.n} | {'' if clock is None else clock} | "
            f"{difference(row)} |"
        )
    for missing in evidence.failures:
        lines.append(f"| {missing.engine} | {missing.precision} | failed | | | | | |")
    return "\n".join(lines) + "\n"


def difference(row: Row) -> str:
    """How far a row is from its reference, and what is allowed."""
    worst = "not finite, or of another shape" if row.worst is None else f"{row.worst:.2g}"
    allowed = "not judged" if row.tolerance is None else f"allowed {row.tolerance:.2g}"
    return f"{worst} ({allowed})"


def pages(root: Path = CHECKOUT) -> list[Path]:
    """The pages in which numbers may be quoted."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]


def without_blocks(text: str) -> str:
    """A page without its blocks of evidence; those without an end stay."""
    return _BLOCK.sub(lambda match: "" if match[0].endswith(END) else match[0], text)


def regenerated(
    page: Path, text: str, files: Mapping[str, Evidence], now: Mapping[str, str], folder: Path
) -> str:
    """A page with its blocks as the files have them.

    Raises:
        ConfigError: a block has no end, or names a file that is not there.
    """

    def block(match: re.Match[str]) -> str:
        name = match[1]
        if not match[0].endswith(END):
            raise ConfigError(f"{page}: the block of {name} has no end: add the line '{END}'")
        if name == ALL:
            body = listing(files, now)
        elif name in files:
            body = quotation(files[name], os.path.relpath(folder / name, page.parent))
        else:
            raise ConfigError(
                f"{page} quotes {name}, which is not in docs/evidence: add the file, or take the "
                "block out"
            )
        return f"<!-- evidence: {name} -->\n{body}{END}"

    return _BLOCK.sub(block, text)


def main(arguments: Sequence[str]) -> int:
    try:
        if arguments:
            for path in map(Path, arguments):
                evidence = keepable(path)
                states = code_since(evidence, engine_hashes(CHECKOUT / "munit_edge"))
                since = ", ".join(f"{engine} {state}" for engine, state in states.items())
                print(f"{path} can be kept; code since: {since}")
            return 0
        _regenerate()
    except MunitEdgeError as exc:
        print(f"evidence: {exc}", file=sys.stderr)
        return 1
    return 0


def _regenerate() -> None:
    files, now = kept(), engine_hashes(CHECKOUT / "munit_edge")
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new = regenerated(page, text, files, now, FOLDER)
        if new != text:
            with atomic_file(page) as partial:
                partial.write_text(new, encoding="utf-8")
            print(f"regenerated {page.relative_to(CHECKOUT)}")
    print(f"{len(files)} files of evidence")


def _commit(code: Code) -> str:
    short = code.commit if code.commit == UNKNOWN else code.commit[:12]
    return f"{short} with changes" if code.modified else short


def _measured(evidence: Evidence) -> Iterator[str]:
    rows = evidence.rows or evidence.selftest
    for engine in dict.fromkeys(row.engine for row in rows):
        precisions = dict.fromkeys(row.precision for row in rows if row.engine == engine)
        yield f"{engine}: {', '.join(precisions)}"


def _without_folders(match: re.Match[str]) -> str:
    # The last part may be a person's own folder; names of libraries are what helps.
    last = match[1]
    return f"<path>/{last}" if re.search(r"\.(so|py|onnx|plan|npz)\b", last) else "<path>"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, StrictModel):
        yield from _texts(value.model_dump())
    elif isinstance(value, Mapping):
        yield from _texts(list(value))
        yield from _texts(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
