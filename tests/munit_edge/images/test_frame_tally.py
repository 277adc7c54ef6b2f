from munit_edge.images.frame_tally import FrameTally


def test_each_file_counts_once() -> None:
    tally = FrameTally()
    assert not tally.add("still.png", 1)
    assert tally.notice("used") == ""
    assert tally.add("a.gif", 12)
    assert not tally.add("a.gif", 12)
    assert tally.notice("used") == "a.gif has 12 frames or pages: only the first is used"
    assert not tally.add("b.tif", 2)
    assert len(tally) == 2
    assert tally.notice("used") == (
        "2 images have more than one frame or page, such as a.gif with 12: only the first of "
        "each is used"
    )


def test_files_of_one_name_in_two_folders_count_twice() -> None:
    tally = FrameTally()
    tally.add("a/x.gif", 3)
    tally.add("b/x.gif", 4)
    assert len(tally) == 2
