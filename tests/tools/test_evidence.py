"""`tools/evidence.py`: what may be kept, what is private, and what the pages quote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import evidence as tool
import pytest
from engine_code import CHECKOUT, engine_hashes
from evidence import Evidence, keepable, listing, own_names, quotation, read_evidence, scrubbed
from evidence_files import CARD, HASHES, HOST, a_row, an_evidence, write_evidence

from munit_edge.errors import ConfigError, InputError

# ----------------------------------------------------------------------------------------------
# This checkout


def test_the_files_that_are_kept_have_the_format() -> None:
    others = {path.name for path in tool.FOLDER.iterdir()} - set(tool.kept())
    assert others == {"README.md"}


def test_the_pages_have_what_the_files_say() -> None:
    files, now = tool.kept(), engine_hashes(CHECKOUT / "munit_edge")
    stale = [
        page.name
        for page in tool.pages()
        if (text := page.read_text(encoding="utf-8"))
        != tool.regenerated(page, text, files, now, tool.FOLDER)
    ]
    assert stale == [], "run `python tools/evidence.py`"
    page = (tool.FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"<!-- evidence: all -->\n{listing(files, now)}{tool.END}" in page


# ----------------------------------------------------------------------------------------------
# What may be kept


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    evidence = an_evidence()
    assert keepable(write_evidence(tmp_path, evidence)) == evidence
    assert evidence.file_name == "nvidia-l4-2026-12-24.json"
    assert keepable(write_evidence(tmp_path, evidence, "nvidia-l4-2026-12-24-2.json")) == evidence


def changed(tmp_path: Path, **changes: Any) -> Path:
    """A file of evidence with other JSON under some keys."""
    data = json.loads(an_evidence().model_dump_json())
    path = tmp_path / an_evidence().file_name
    path.write_text(json.dumps({**data, **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpu": "L4"}, "unknown key 'gpu'"),
        ({"format_version": 2}, "format_version"),
        ({"created": "yesterday"}, "created"),
        ({"card": None}, "device is cuda:0, and card is None"),
        ({"subject": None}, "rows are given without the subject"),
        ({"rows": [{"engine": "tensorrt"}]}, "is missing"),
        ({"packages": {"torch": "/home/alice/torch"}}, "'/home/alice/torch' is a path"),
        ({"packages": {"/opt/x/torch": "2"}}, "'/opt/x/torch' is a path"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_layout_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        read_evidence(changed(tmp_path, **changes))


def test_an_engine_without_a_hash_of_its_code_is_refused(tmp_path: Path) -> None:
    code = json.loads(an_evidence().code.model_dump_json())
    without = {**code, "engines": {"shared": 64 * "0", "torch": 64 * "2"}}
    with pytest.raises(ConfigError, match=r"code\.engines has no hash of tensorrt"):
        read_evidence(changed(tmp_path, code=without))
    for wrong in ("abc", "main", ""):
        with pytest.raises(ConfigError, match="commit"):
            read_evidence(changed(tmp_path, code={**code, "commit": wrong}))
    assert read_evidence(changed(tmp_path, code={**code, "commit": "unknown"}))


def test_what_is_no_evidence_of_a_gpu_is_not_kept(tmp_path: Path) -> None:
    on_cpu = write_evidence(tmp_path, an_evidence(device="cpu", card=None))
    with pytest.raises(InputError, match="made on a CPU"):
        keepable(on_cpu)
    with pytest.raises(InputError, match="holds no measurement"):
        keepable(write_evidence(tmp_path, an_evidence(rows=())))
    with pytest.raises(InputError, match=r"name it nvidia-l4-2026-12-24\.json"):
        keepable(write_evidence(tmp_path, an_evidence(), "nvidia-h100-2026-12-24.json"))


def test_the_command_checks_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_evidence(tmp_path, an_evidence())
    assert tool.main([str(good)]) == 0
    assert "can be kept; code since: tensorrt changed, torch changed" in capsys.readouterr().out
    assert tool.main([str(good), str(tmp_path / "absent.json")]) == 1
    assert capsys.readouterr().err.startswith("evidence: ")


# ----------------------------------------------------------------------------------------------
# What is private


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no /home/alice/lib/libcudnn.so.9: No such", "no <path>/libcudnn.so.9: No such"),
        ("in '/home/alice'", "in '<path>'"),
        ('File "/Users/alice/a b/x.py", line 3', 'File "<path> b/x.py", line 3'),
        (r"C:\Users\alice\x.dll", "C:<path>"),
        (
            "CUDA failure 35: too old ; GPU=-1 ; hostname=box7",
            "CUDA failure 35: too old ; GPU=-1 ;",
        ),
        ("GPU-1b5f2a3c-0000-1111-2222-333344445555 is lost", "<id> is lost"),
        ("alice@box7: denied", "<name>@<name>: denied"),
        ("see https://alice.example/x?y=1", "see <address>"),
        ("two\n lines", "two lines"),
        ("Conv/Add in 1/2 and and/or fp16", "Conv/Add in 1/2 and and/or fp16"),
    ],
)
def test_messages_lose_whose_machine_it_is(text: str, clean: str) -> None:
    assert scrubbed(text, ["alice", "box7"]) == clean
    assert scrubbed(clean, ["alice", "box7"]) == clean


def test_the_names_are_those_of_the_user_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    monkeypatch.setattr("socket.gethostname", lambda: "box7.example.org")
    monkeypatch.setenv("HOME", "/home/alice.jones")
    assert set(own_names()) == {"alice", "box7.example.org", "box7", "alice.jones"}
    assert scrubbed("alice.jones on box7.example.org, alice on box7") == (
        "<name> on <name>, <name> on <name>"
    )


@pytest.mark.parametrize(
    "board",
    ["/home/alice/board", "GPU-1b5f2a3c-0000-1111-2222-333344445555", "x ; hostname=box7"],
)
def test_private_words_are_refused_wherever_they_stand(board: str) -> None:
    with pytest.raises(ValueError, match="take it out"):
        an_evidence(host=HOST.model_copy(update={"board": board}))


# ----------------------------------------------------------------------------------------------
# What the pages quote

NOW = {**HASHES, "torch": 64 * "f"}


def test_the_list_says_whether_the_code_has_changed() -> None:
    assert listing({}, NOW) == "No files yet: **not measured**.\n"
    table = listing({"x.json": an_evidence()}, NOW)
    assert "| [x.json](x.json) | NVIDIA L4 | 580.65.06, 13.0 | aaaaaaaaaaaa |" in table
    assert "| tensorrt: fp16; torch: fp32 | same: tensorrt; changed: torch | all agree |" in table
    assert "| same: tensorrt, torch |" in listing({"x.json": an_evidence()}, HASHES)
    shared = {**HASHES, "shared": 64 * "e"}
    assert "| changed: tensorrt, torch |" in listing({"x.json": an_evidence()}, shared)
    without = {name: HASHES[name] for name in ("shared", "tensorrt")}
    assert "| same: tensorrt; gone: torch |" in listing({"x.json": an_evidence()}, without)


def test_the_list_says_what_failed() -> None:
    off = an_evidence(rows=(a_row(worst=1.5),))
    assert "| differences or failures |" in listing({"x.json": off}, NOW)
    not_finite = an_evidence(rows=(a_row(worst=None),))
    assert "| differences or failures |" in listing({"x.json": not_finite}, NOW)
    unjudged = an_evidence(rows=(a_row(worst=1.5, tolerance=None),))
    assert "| all agree |" in listing({"x.json": unjudged}, NOW)


def test_a_quotation_has_the_numbers_and_their_conditions() -> None:
    text = quotation(an_evidence(), "evidence/x.json")
    for words in ("NVIDIA L4, driver 580.65.06", "2026-12-24", "72.00 W", "width 64", "256 x 256"):
        assert words in text
    assert "([file](evidence/x.json))" in text
    assert (
        "| tensorrt | fp16 | decoder_b | 1.250 | 2.000 | 100 | 1980 | 0.5 (allowed 1) |\n" in text
    )
    board = HOST.model_copy(update={"board": "Jetson AGX Orin"})
    assert "NVIDIA L4 (Jetson AGX Orin), driver" in quotation(an_evidence(host=board), "x")
    old = CARD.model_copy(update={"driver": ""})
    assert "driver unknown" in quotation(an_evidence(card=old), "x")


def regenerated(text: str, files: dict[str, Evidence], tmp_path: Path) -> str:
    return tool.regenerated(tmp_path / "docs/page.md", text, files, NOW, tmp_path / "docs/evidence")


def test_blocks_are_filled_from_the_files(tmp_path: Path) -> None:
    files = {"x.json": an_evidence()}
    page = (
        "# Page\n<!-- evidence: x.json -->\n1 ms, invented\n<!-- end of evidence -->\nText.\n"
        "<!-- evidence: all -->\n<!-- end of evidence -->\n"
    )
    new = regenerated(page, files, tmp_path)
    assert "invented" not in new
    assert f"-->\n{quotation(files['x.json'], 'evidence/x.json')}<!-- end" in new
    assert f"-->\n{listing(files, NOW)}<!-- end" in new
    assert regenerated(new, files, tmp_path) == new
    assert tool.without_blocks(new) == "# Page\n\nText.\n\n"


def test_blocks_that_cannot_be_filled_are_errors(tmp_path: Path) -> None:
    absent = "<!-- evidence: y.json -->\n<!-- end of evidence -->\n"
    with pytest.raises(
        ConfigError, match=r"page\.md quotes y\.json, which is not in docs/evidence"
    ):
        regenerated(absent, {}, tmp_path)
    for page in (
        "<!-- evidence: x.json -->\nto the end\n",
        "<!-- evidence: x.json -->\n<!-- evidence: all -->\n<!-- end of evidence -->\n",
    ):
        with pytest.raises(ConfigError, match=r"the block of x\.json has no end"):
            regenerated(page, {"x.json": an_evidence()}, tmp_path)
    shown = "    <!-- evidence: FILE -->\n"
    assert regenerated(shown, {}, tmp_path) == shown, "it is only shown"
