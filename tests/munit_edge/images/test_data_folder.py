"""Finding the folders of both domains in a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from munit_edge.errors import InputError
from munit_edge.images.data_folder import TEST_LAYOUT, TRAINING_LAYOUTS, domain_folders


def test_the_first_layout_that_is_whole_is_taken(tmp_path: Path) -> None:
    for name in ("trainA", "images_a", "images_b"):
        (tmp_path / name).mkdir()
    found = domain_folders(tmp_path, *TRAINING_LAYOUTS, needed="")
    assert found == {"a": tmp_path / "images_a", "b": tmp_path / "images_b"}
    (tmp_path / "trainB").mkdir()
    found = domain_folders(tmp_path, *TRAINING_LAYOUTS, needed="")
    assert found == {"a": tmp_path / "trainA", "b": tmp_path / "trainB"}


def test_messages_name_what_is_there_and_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "testA").mkdir()
    with pytest.raises(InputError, match=r"^--data .* holds testA: testB is missing$"):
        domain_folders(tmp_path, TEST_LAYOUT, called="--data", needed="testB is missing")
    with pytest.raises(InputError, match=r"does not exist: name one that holds testA and testB$"):
        domain_folders(tmp_path / "none", TEST_LAYOUT, needed="")
