"""What a run writes for its user while it trains, and what is left when it is killed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from ended_runs import exit_code, run_killed_in_an_iteration, start
from training_runs import Recorder, train, write_data

from munit_edge.errors import TrainingError
from munit_edge.trainer.run import view as run_view
from munit_edge.trainer.run.curves import read_curves
from munit_edge.trainer.run.folder import RunFolder
from munit_edge.trainer.run.page import page_html, read_snapshot, speed_words
from munit_edge.trainer.run.record import read_record
from munit_edge.trainer.run.view import Speed
from munit_edge.trainer.step import Losses, TrainingStep


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("view") / "data")


def trained(data: Path, path: Path, *overrides: str, resume: bool = False) -> RunFolder:
    train(data, path, *overrides, resume=resume)
    return RunFolder(path)


def iterations(folder: RunFolder, name: str = "loss/gan_a") -> list[float]:
    return [point.iteration for point in read_curves(folder.curve_file).by_name[name].points]


def test_a_run_leaves_a_page_of_everything(data: Path, tmp_path: Path) -> None:
    folder = trained(data, tmp_path / "run", "image_interval=4", "log_interval=2")
    assert iterations(folder) == [2, 4, 6]
    assert iterations(folder, "measure/reconstruction") == [3, 6]
    record = read_record(folder.record_file)
    (session,) = record.sessions
    assert (session.state, session.first_iteration, session.iteration) == ("finished", 0, 6)
    assert session.images == {"a": 5, "b": 5}
    assert session.images_per_second is not None
    page = folder.page.read_text()
    assert page == page_html(read_snapshot(folder))
    assert 'data-iterations="4,6"' in page
    for title in ("Image reconstruction", "Cycle", "Gradient norms", "Measure: reconstruction"):
        assert f"<h3>{title}</h3>" in page
    assert "best checkpoint" in page


def test_terminal_and_page_show_the_same_numbers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speed, time left and iterations, from before the first iteration to the end."""
    monkeypatch.setattr(run_view, "PAGE_INTERVAL_S", 0.0)
    folder = RunFolder(tmp_path / "run")
    pages: list[str] = []

    class Looking(Recorder):
        def advance(self, steps: int = 1, note: str = "") -> None:
            super().advance(steps, note)
            pages.append(folder.page.read_text())

    display = Looking()
    result = train(data, folder.path, "checkpoint_interval=6", display=display)
    done = [re.findall(r"<p>(\d) of 6 iterations", page) for page in pages]
    assert done == [[str(iteration)] for iteration in range(6)]
    assert re.fullmatch(r"D -?[\d.]+ G -?[\d.]+ [\d.e+]+ images/s, .+ left", display.notes[-1])
    # The page of an iteration is written when its note has been shown.
    for note, page in zip(display.notes, pages[1:], strict=False):
        speed, left = re.search(r" ([\d.e+]+ images/s), (.*) left", note).groups()  # type: ignore[union-attr]
        assert f"<b>{speed}</b>" in page
        assert f"<small>time left</small><b>{left}</b>" in page
    page = folder.page.read_text()
    assert f"<b>{speed_words(result.images_per_second)}</b>" in page
    assert f"<p>{result.iteration:,} of 6 iterations" in page


def test_kill_9_and_resume_leave_a_true_page(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    settings = ("iterations=8", "checkpoint_interval=4", "image_interval=2")
    killed = start(run_killed_in_an_iteration, data, path, settings, 8)
    assert exit_code(killed) == -signal.SIGKILL
    folder = RunFolder(path)
    assert iterations(folder) == [1, 2, 3, 4, 5, 6, 7]
    page = folder.page.read_text()
    assert "6 of 8 iterations" in page
    assert 'data-iterations="2,4,6"' in page
    with folder.curve_file.open("a") as file:
        file.write('{"iteration":8,"loss')

    train(data, path, *settings, resume=True)
    assert iterations(folder) == [1, 2, 3, 4, 5, 6, 7, 8]
    straight = trained(data, tmp_path / "straight", *settings)
    assert folder.curve_file.read_text() == straight.curve_file.read_text()
    sessions = read_record(folder.record_file).sessions
    assert [(s.state, s.first_iteration) for s in sessions] == [("killed", 0), ("finished", 4)]
    assert "iterations 0 to 6, killed" in folder.page.read_text()
    assert 'data-iterations="2,4,6,8"' in folder.page.read_text()


def test_an_error_is_on_the_page(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingStep.run

    def diverging(self: TrainingStep, iteration: int, *rest: object) -> Losses:
        losses = original(self, iteration, *rest)  # type: ignore[arg-type]
        return losses | {"gan_b": losses["gan_b"] / (iteration < 5)}

    monkeypatch.setattr(TrainingStep, "run", diverging)
    with pytest.raises(TrainingError):
        train(data, tmp_path / "run")
    page = (tmp_path / "run" / "index.html").read_text()
    assert "training diverged in iteration 5: gan_b is " in page
    assert "4 of 6 iterations" in page
    assert "--resume" in page


def test_broken_images_stay_on_the_page_of_a_resumed_run(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    broken = data / "trainA" / "02.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    folder = trained(data, tmp_path / "run", "iterations=3")
    broken.write_bytes(whole)
    train(data, tmp_path / "run", resume=True)
    (fault,) = read_record(folder.record_file).broken_images
    assert "02.png is empty" in fault
    assert "1 broken image<" in folder.page.read_text()


def test_no_tracker_is_needed(data: Path, tmp_path: Path) -> None:
    folder = trained(data, tmp_path / "run", "trackers=[]", "iterations=1")
    assert folder.page.is_file()
    assert not (folder.path / "tensorboard").exists()


def test_speed_is_that_of_late() -> None:
    times = iter([0.0, *(10.0 + i for i in range(150))])
    speed = Speed(4, clock=lambda: next(times))
    assert speed.images_per_second is None
    for _ in range(150):
        speed.tick()
    assert speed.images_per_second == 4.0
