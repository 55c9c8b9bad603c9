"""Files that cannot be done are reported and the others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_sam.cli.file_run import FileRun
from napari_sam.errors import CacheError, ImageError


@pytest.mark.parametrize(
    "error", [ImageError("no planes"), OSError(28, "No space left"), ValueError("odd"), MemoryError()]
)
def test_a_file_that_fails_is_reported_and_the_next_one_is_done(error, capsys):
    done = []
    with FileRun(2) as run:
        for name in "ab":
            with run.file(Path(name)):
                if name == "a":
                    raise error
                done.append(name)
    assert done == ["b"]
    assert run.conclude() == 2
    said = capsys.readouterr().err
    assert "napari-sam: error: a: " in said
    assert "1 of 2 files failed" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "fatal"),
    [
        (BrokenPipeError(), ()),
        (CacheError("full"), (CacheError,)),
        (KeyboardInterrupt(), ()),
        (KeyError(), ()),
    ],
    ids=["nobody reads on", "as asked", "interrupted", "mistake"],
)
def test_what_the_next_file_would_meet_too_ends_the_run(error, fatal):
    with pytest.raises(type(error)), FileRun(2, fatal=fatal) as run, run.file(Path("a")):
        raise error


def test_verbose_shows_where_it_happened(capsys):
    with FileRun(1, verbose=True) as run, run.file(Path("a")):
        raise ImageError("no planes")
    assert "Traceback" in capsys.readouterr().err
    assert run.conclude() == 2


def test_all_done_is_zero(capsys):
    with FileRun(1) as run, run.file(Path("a")):
        pass
    assert run.conclude() == 0
    assert capsys.readouterr().err == ""
