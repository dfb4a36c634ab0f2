"""Which pictures are read and where each is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from impasto.apps.cli.plan import Job, plan_jobs, suffix_of
from impasto.errors import PictureError, PictureExists, UnknownName


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with some files; what is in them does not matter to a plan."""
    for name in (
        "a.jpg",
        "b.PNG",
        "c.gif",
        "noise.txt",
        "photos/one.jpg",
        "photos/deep/two.webp",
        "photos/deep/notes.txt",
        "photos/.hidden.jpg",
        "photos/.trash/old.jpg",
        "empty/readme.md",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(inputs: list[str], output: str | None = None, **rest: object) -> dict[str, str]:
    jobs = plan_jobs(inputs, output=output, label="scream", **rest)  # type: ignore[arg-type]
    return {_name(job.source): _name(job.target) for job in jobs}


def _name(path: Path | None) -> str:
    return "-" if path is None else path.as_posix()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        (["a.jpg"], None, {"a.jpg": "a-scream.jpg"}),
        (["b.PNG"], None, {"b.PNG": "b-scream.PNG"}),
        (["c.gif"], None, {"c.gif": "c-scream.png"}),
        (["photos/one.jpg"], None, {"photos/one.jpg": "photos/one-scream.jpg"}),
        (["a.jpg"], "out.png", {"a.jpg": "out.png"}),
        (["a.jpg"], "new/sub/out.webp", {"a.jpg": "new/sub/out.webp"}),
        (["a.jpg"], "out", {"a.jpg": "out/a.jpg"}),
        (["a.jpg"], "v1.2/", {"a.jpg": "v1.2/a.jpg"}),
        (["a.jpg", "c.gif"], "v1.2", {"a.jpg": "v1.2/a.jpg", "c.gif": "v1.2/c.png"}),
        (["photos"], "out", {"photos/deep/two.webp": "out/deep/two.webp", "photos/one.jpg": "out/one.jpg"}),
        (["photos/one.jpg"], "empty", {"photos/one.jpg": "empty/one.jpg"}),
        (["photos/*.jpg"], "out", {"photos/one.jpg": "out/one.jpg"}),
        (["photos/**/*"], "out", {"photos/deep/two.webp": "out/deep/two.webp", "photos/one.jpg": "out/one.jpg"}),
        (["*.jpg"], "one.png", {"a.jpg": "one.png"}),
        (["./*.jpg"], None, {"a.jpg": "a-scream.jpg"}),
        (
            ["photos", "photos/one.jpg"],
            "out",
            {"photos/deep/two.webp": "out/deep/two.webp", "photos/one.jpg": "out/one.jpg"},
        ),
        (["-"], None, {"-": "-"}),
        (["-"], "out.jpg", {"-": "out.jpg"}),
        (["-"], "out/", {"-": "out/stdin.png"}),
        (["a.jpg"], "-", {"a.jpg": "-"}),
        (["nosuch.jpg"], None, {"nosuch.jpg": "nosuch-scream.jpg"}),
    ],
)
def test_where_pictures_go(inputs: list[str], output: str | None, expected: dict[str, str]) -> None:
    assert planned(inputs, output) == expected


@pytest.mark.usefixtures("here")
def test_format_decides_the_suffix() -> None:
    assert planned(["a.jpg", "b.PNG"], "out", suffix=".webp") == {"a.jpg": "out/a.webp", "b.PNG": "out/b.webp"}
    assert planned(["a.jpg"], None, suffix=".png") == {"a.jpg": "a-scream.png"}
    assert planned(["a.jpg"], None, suffix=".jpeg") == {"a.jpg": "a-scream.jpg"}, "the same format keeps its spelling"
    assert planned(["a.jpg"], "out.jpg", suffix=".jpeg") == {"a.jpg": "out.jpg"}
    with pytest.raises(PictureError, match="disagree"):
        planned(["a.jpg"], "out.jpg", suffix=".png")


def test_formats_have_names() -> None:
    assert [suffix_of(name) for name in ("png", "JPEG", ".tif")] == [".png", ".jpeg", ".tif"]
    with pytest.raises(UnknownName, match="did you mean 'webp'"):
        suffix_of("webb")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["empty"], None, "holds no picture"),
        (["*.bmp"], None, "No picture matches"),
        ([""], None, "An input is empty"),
        (["a.jpg"], "", "-o is empty"),
        (["-", "a.jpg"], None, "cannot be mixed"),
        (["-", "-"], None, "cannot be mixed"),
        (["a.jpg", "b.PNG"], "out.jpg", "2 pictures cannot all be written to out.jpg"),
        (["a.jpg", "b.PNG"], "-", "standard output"),
        (["photos"], "-", "standard output"),
        (["a.jpg"], "out.gif", "cannot be written as .gif"),
        (["a.jpg"], "a.jpg", "is an input as well"),
        (["a.jpg"], "photos/../a.jpg", "is an input as well"),
        (["photos"], "photos", "is an input as well"),
        (["a.jpg", "photos/one.jpg"], ".", "is an input as well"),
        (["a.jpg"], "noise.txt/out.jpg", "is a file"),
    ],
)
def test_refusals(inputs: list[str], output: str | None, message: str) -> None:
    with pytest.raises(PictureError, match=message):
        planned(inputs, output)


def test_two_inputs_for_one_output(here: Path) -> None:
    (here / "c.png").write_bytes(b"x")
    with pytest.raises(PictureError, match=r"c\.gif and c\.png would both be written"):
        planned(["c.gif", "c.png"], "out")
    (here / "photos/deep/one.jpg").write_bytes(b"x")
    with pytest.raises(PictureError, match="would both be written"):
        planned(["photos/one.jpg", "photos/deep/one.jpg"], "out")


def test_an_input_behind_a_link_is_not_replaced(here: Path) -> None:
    (here / "link.jpg").symlink_to("a.jpg")
    with pytest.raises(PictureError, match="is an input as well"):
        planned(["a.jpg"], "link.jpg", overwrite=True)


@pytest.mark.usefixtures("here")
def test_a_style_picture_is_not_replaced() -> None:
    with pytest.raises(PictureError, match="is an input as well"):
        planned(["a.jpg"], "b.PNG", overwrite=True, kept=["starry-night", "b.PNG"])


def test_existing_outputs_need_leave(here: Path) -> None:
    for name in ("out/a.jpg", "out/b.PNG"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(b"x")
    with pytest.raises(PictureExists, match=r"out.a\.jpg \(and 1 more\) exists already.*--overwrite"):
        planned(["a.jpg", "b.PNG", "c.gif"], "out")
    assert len(planned(["a.jpg", "b.PNG", "c.gif"], "out", overwrite=True)) == 3
    (here / "dangling.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(PictureExists):
        planned(["a.jpg"], "dangling.jpg")
    (here / "folder.jpg").mkdir()
    (here / "folder.jpg/a.jpg").mkdir()
    with pytest.raises(PictureError, match="is a folder"):
        planned(["a.jpg"], "folder.jpg", overwrite=True)


def test_the_output_folder_is_not_an_input(here: Path) -> None:
    (here / "photos/painted").mkdir()
    (here / "photos/painted/one.jpg").write_bytes(b"x")
    expected = {"photos/deep/two.webp": "photos/painted/deep/two.webp", "photos/one.jpg": "photos/painted/one.jpg"}
    assert planned(["photos"], "photos/painted", overwrite=True) == expected
    assert planned(["photos/**/*"], "photos/painted", overwrite=True) == expected


def test_painting_a_folder_twice_does_not_paint_the_paintings(here: Path) -> None:
    (here / "photos/one-scream.jpg").write_bytes(b"x")
    expected = {"photos/deep/two.webp": "photos/deep/two-scream.webp", "photos/one.jpg": "photos/one-scream.jpg"}
    assert planned(["photos"], overwrite=True) == expected
    with pytest.raises(PictureError, match="is an input as well"):
        planned(["photos/one.jpg", "photos/one-scream.jpg"], overwrite=True)


def test_order_is_the_one_given_and_sorted_within_folders(here: Path) -> None:
    (here / "photos/B.jpg").write_bytes(b"x")
    jobs = plan_jobs(["photos", "a.jpg"], output="out", label="x")
    assert [_name(job.source) for job in jobs] == ["photos/B.jpg", "photos/one.jpg", "photos/deep/two.webp", "a.jpg"]


def test_a_file_whose_name_looks_like_a_pattern(here: Path) -> None:
    (here / "shot[1].jpg").write_bytes(b"x")
    assert planned(["shot[1].jpg"]) == {"shot[1].jpg": "shot[1]-scream.jpg"}


def test_case_is_folded_where_the_system_folds_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "A.jpg").write_bytes(b"x")
    if Path("A.jpg").samefile("a.jpg"):
        pytest.skip("this file system folds case itself")
    assert len(planned(["a.jpg", "A.jpg"], "out")) == 2
    monkeypatch.setattr("sys.platform", "darwin")
    assert len(planned(["a.jpg", "A.jpg"], "out")) == 1, "both names are one file there"


def test_jobs_are_plain_values() -> None:
    assert Job(None, Path("x.png")) == Job(None, Path("x.png"))
