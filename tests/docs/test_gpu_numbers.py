"""Pages quote numbers of GPUs from files of evidence only.

A block is a paragraph, a list item, a table or a piece of code. One that is about a GPU, by its own
words, a heading above it or the sentence that introduces it, may hold no latency, rate, speed-up or
PSNR, unless `tools/evidence.py` has filled it from a file (`tests/tools/test_evidence.py` compares
the two). The comment `CPU_NUMBERS` before a block says that its numbers are those of a CPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from evidence import pages, quotation, without_blocks
from evidence_files import an_evidence

CPU_NUMBERS = "<!-- numbers of the CPU -->"

GPU = re.compile(
    r"\bGPUs?\b|\bCUDA\b|\bcuDNN\b|NVIDIA|TensorRT|Tegra|Jetson|\bOrin\b|\bThor\b|\bXavier\b|\bAGX\b"
    r"|GeForce|\b[RG]TX\b|\bQuadro\b|\bTesla\b|\b(?:GB|[ABHLPTV])\d{1,3}[A-Z]?\b|\bMI\d{3}\b"
    r"|\bAmpere\b|\bAda\b|\bHopper\b|\bBlackwell\b|\bTuring\b|\bVolta\b"
)
_NUMBER = r"(?<![\w.])\d[\d,]*(?:\.\d+)?\s?"
_SPELT = "twice|thrice|half|(?:two|three|four|five|six|seven|eight|nine|ten) times"
MEASURED = re.compile(
    rf"{_NUMBER}(?:[mµu]?s\b|sec\b|seconds?\b|fps\b|FPS\b|Hz\b|dB\b|it/s"
    r"|(?:frames|images?|img|photos?|pictures?|samples?)(?:\s?/\s?s\b| (?:per|a) second)"
    "|[x\u00d7](?= (?:as|the|faster|slower|speed)|[,.;:)]|$)|times (?:as|the|faster|slower)"
    r"|% (?:faster|slower))"
    r"|\b(?i:speed-?up|ratio|latency):? (?:of |is )?(?:about )?\d"
    rf"|\b(?:{_SPELT}) as (?:fast|long)"
)
# In the head of a table, whose cells are bare numbers.
UNIT = re.compile(
    r"\bms\b|\bµs\b|\bfps\b|\bFPS\b|/\s?s\b|second|[Ss]peed-?up|[Ll]atency|[Rr]atio|\bdB\b"
)


class Block(NamedTuple):
    """A piece of a page."""

    text: str
    context: str
    """Headings above it, and the sentence that introduces it."""
    is_of_the_cpu: bool
    """Whether a comment says so."""


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page, without those of evidence."""
    headings: dict[int, str] = {}
    introduction = ""
    of_the_cpu = False
    for piece in _pieces(without_blocks(text)):
        if not piece:  # a blank line
            of_the_cpu = False
            continue
        if piece == CPU_NUMBERS:
            of_the_cpu = True
            continue
        if heading := re.match(r"(#+) (.*)", piece):
            level = len(heading[1])
            headings = {key: value for key, value in headings.items() if key < level}
            headings[level] = heading[2]
            introduction = ""
            continue
        is_paragraph = re.match(r"\||[-*] |\d+\. |```", piece) is None
        if is_paragraph:
            introduction = piece
        context = [*headings.values(), "" if is_paragraph else introduction]
        yield Block(piece, "\n".join(context), of_the_cpu)


def _pieces(text: str) -> Iterator[str]:
    """Blocks, headings, comments, and "" for a blank line."""
    lines: list[str] = []
    fenced = False
    for line in [*text.splitlines(), ""]:
        begins = re.match(r"\s*([-*] |\d+\. |#+ |<!--|```)", line) is not None
        other = bool(lines) and lines[0].startswith("|") != line.startswith("|")
        if not fenced and lines and (not line.strip() or begins or other):
            yield "\n".join(lines).strip()
            lines = []
        if line.startswith("```"):
            fenced = not fenced
        if line.strip() or fenced:
            lines.append(line)
            if not fenced and line.startswith(("#", "<!--", "```")):
                yield "\n".join(lines).strip()
                lines = []
        else:
            yield ""


def has_number(text: str) -> bool:
    """Whether a block holds what was, or could have been, measured."""
    if MEASURED.search(text):
        return True
    head, _, body = text.partition("\n")
    return head.startswith("|") and bool(UNIT.search(head)) and re.search(r"\d", body) is not None


def offenders(text: str) -> list[str]:
    """Blocks with numbers of a GPU that no file of evidence holds."""
    return [
        block.text
        for block in blocks(text)
        if not block.is_of_the_cpu
        and GPU.search(f"{block.context}\n{block.text}")
        and has_number(block.text)
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_numbers_of_gpus_are_quoted_from_evidence(page: Path) -> None:
    found = offenders(page.read_text(encoding="utf-8"))
    assert found == [], (
        "numbers of a GPU: quote them from docs/evidence (its README says how); or, if they are a "
        f"CPU's, put {CPU_NUMBERS} on a line before the block"
    )


QUOTED = (
    f"<!-- evidence: x.json -->\n{quotation(an_evidence(), 'x.json')}<!-- end of evidence -->\n"
)


@pytest.mark.parametrize(
    "text",
    [
        "On a Jetson Orin Nano the decoder takes 4.1 ms.",
        "An RTX 4090 translates\n120 images/s.",
        "TensorRT is 2.5 times as fast as ONNX Runtime.",
        "On an H100 training is 3x faster.",
        "With CUDA graphs a call takes 3 x, and without 4 x.",
        "fp16 on an L4: speed-up of 1.8.",
        "int8 on the GPU has 38.2 dB.",
        "TensorRT is twice as fast.",
        "| graph | Orin, ms |\n|---|---|\n| decoder | 4.1 |",
        "| graph | p50 ms |\n|---|---|\n| decoder, T4 | 4.1 |",
        "Measured on an A100:\n\n| graph | ms |\n|---|---|\n| decoder | 4.1 |",
        "Measured on an A100:\n\n- decoder 4.1 ms\n- encoder 2 ms",
        "## Jetson\n### Video\nIt reaches 31 fps.",
        "# On a GPU\n```\n16 images, 3.4 s\n```",
        "Not measured on a GPU: the decoder takes 4.1 ms there.",
        f"{QUOTED}A GPU takes 4.1 ms.",
        f"{CPU_NUMBERS}\n5 ms.\n\nA GPU takes 4.1 ms.",
        "<!-- evidence: x.json -->\nOn the GPU 4 ms.",
    ],
)
def test_numbers_of_gpus_are_found(text: str) -> None:
    assert len(offenders(f"# Page\n\nIntroduction.\n\n{text}\n")) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "The CPU takes 4.1 ms.",
        "On an NVIDIA GPU use TensorRT 10.3 and images of 256 x 256 pixels.",
        "On an 8 GB board (CUDA 12.6) add `--workspace-mb 1024`; 3 on an H100 is not measured.",
        "| boards | CUDA | TensorRT |\n|---|---|---|\n| Orin | 12.6 | 10.3 |",
        "## Jetson\nText.\n## CPU\nIt takes 3 s.",
        "- On a GPU use fp16.\n- The CPU takes 3 s.",
        "A GPU is faster.\n\nThe CPU takes 3 s.",
        f"{CPU_NUMBERS}\nThe CPU takes 3 s; not measured on a GPU.",
        QUOTED,
    ],
)
def test_other_text_is_let_through(text: str) -> None:
    assert offenders(f"# Page\n\n{text}\n") == []


def test_the_blocks_of_a_page() -> None:
    page = "# One\nText\nof two lines.\n- item\n  more\n- item\n\n## Two\n| a |\n|---|\nText.\n"
    assert [(block.text, block.context) for block in blocks(page)] == [
        ("Text\nof two lines.", "One\n"),
        ("- item\n  more", "One\nText\nof two lines."),
        ("- item", "One\nText\nof two lines."),
        ("| a |\n|---|", "One\nTwo\n"),
        ("Text.", "One\nTwo\n"),
    ]
