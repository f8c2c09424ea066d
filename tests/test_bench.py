"""The bench: its numbers hang together; how large they are is not tested."""

import json

import pytest

from x2sam import cli
from x2sam.bench import bench_segment, configuration, matmul_peak
from x2sam.errors import InputError


def test_one_json_line_with_numbers_that_fit_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", "segment", "--encoder", "nano", "--size", "64", "--frames", "7"])
    found = json.loads(capsys.readouterr().out)
    assert found["fraction_of_peak"] == pytest.approx(
        found["gflop_per_frame"] / found["seconds_per_frame"] / found["peak_gflops"]
    )
    assert 0 < found["fraction_of_peak"] < 1
    assert found["size"] == 64


def test_the_count_grows_with_the_memory() -> None:
    assert (
        bench_segment("hiera-tiny", 64, queries=8, frames=4, memory=0).gflop_per_frame
        < bench_segment("hiera-tiny", 64, queries=8, frames=4, memory=2).gflop_per_frame
    )


def test_fewer_levels_are_less_work(capsys: pytest.CaptureFixture[str]) -> None:
    all_of_them = bench_segment("hiera-tiny", 64, frames=4, memory=1, levels=(0, 1, 2))
    with pytest.raises(SystemExit):
        cli.main(["bench", "segment", "--size", "64", "--frames", "4", "--memory", "1", "--level", "0", "--level", "1"])
    found = json.loads(capsys.readouterr().out)
    assert found["levels"] == [0, 1]
    assert found["gflop_per_frame"] < all_of_them.gflop_per_frame


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(InputError, match="5 frames"):
        bench_segment("nano", 64, frames=5, memory=4)
    with pytest.raises(InputError, match="one of: hiera-tiny"):
        configuration("resnet")
    with pytest.raises(InputError, match="float17"):
        bench_segment("nano", 64, frames=4, memory=1, dtype="float17")
    assert matmul_peak(repeats=1) > 0


def test_many_objects_are_followed_and_told_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", "objects", "--model", "tiny", "--count", "1", "--count", "3", "--frames", "2"])
    one, three = map(json.loads, capsys.readouterr().out.splitlines())
    assert (one["objects"], one["cost"], one["last_click_seconds"]) == (1, 1.0, None)
    assert three["found_per_frame"] == 3
    assert three["frames_per_second"] == pytest.approx(1 / three["seconds_per_frame"], rel=0.05)
    assert three["last_click_seconds"] > 0
