"""Reader of the optical device data, on a miniature of its files written by the test."""

import hashlib
import warnings

import numpy as np
import pytest

from causalkit.datasets import load_optical_device, optical_device
from causalkit.exceptions import DatasetNotFoundError

BRIGHTNESS = {
    69: "80.0", 70: "96.0", 71: "70.0", 72: "20.0", 73: "95.0", 74: "95.0",
    75: "0", 77: "40.0", 78: "60.0", 79: "80.0", 80: "99.0", 82: "99.0",
}  # fmt: skip


def file_name(number):
    return f"LED_as_confounder11-14-2016_dim=9_exp_no_{number}_brfactor_{BRIGHTNESS[number]}_sample_size=1000_.txt"


def write_rows(path, rows):
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


@pytest.fixture
def miniature(tmp_path, monkeypatch):
    """Twelve files of four rows, whose first pixel is the number of the experiment, and one of ten columns."""
    prefixes = {}
    for number in reversed(BRIGHTNESS):
        rows = np.random.default_rng(number).integers(0, 256, (4, 11))
        rows[:, 0] = number
        write_rows(tmp_path / file_name(number), rows.tolist())
        prefixes[number] = hashlib.sha256((tmp_path / file_name(number)).read_bytes()).hexdigest()[:8]
    section = "LED_as_confounder11-16-2016_dim=9_exp_no_81_brfactor_99.0_sample_size=1000_random_image_section.txt"
    write_rows(tmp_path / section, np.ones((4, 10), dtype=int).tolist())
    (tmp_path / "README").write_text("Terms.\n")
    monkeypatch.setattr(optical_device, "_KNOWN", {number: prefixes[number] for number in BRIGHTNESS})
    return tmp_path


def test_frames(miniature):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = load_optical_device(miniature)
    assert list(frames) == [f"experiment_{k}_brightness_{float(v):g}" for k, v in BRIGHTNESS.items()]
    for number, frame in zip(BRIGHTNESS, frames.values(), strict=True):
        assert list(frame.columns) == [*(f"pixel_{j}" for j in range(1, 10)), "led", "voltage"]
        expected = np.random.default_rng(number).integers(0, 256, (4, 11))
        expected[:, 0] = number
        np.testing.assert_array_equal(frame, expected)
        assert (frame.dtypes == "float64").all()
        assert frame.attrs["experiment"] == number and frame.attrs["brightness"] == float(BRIGHTNESS[number])
        assert frame.attrs["path"].endswith(file_name(number))


def test_some_experiments(miniature):
    frames = load_optical_device(str(miniature), experiments=[82, 75])
    assert list(frames) == ["experiment_75_brightness_0", "experiment_82_brightness_99"]
    (miniature / file_name(69)).unlink()
    assert list(load_optical_device(miniature, experiments=[70])) == ["experiment_70_brightness_96"]


def test_other_content_warns_and_is_read(miniature):
    write_rows(miniature / file_name(77), np.full((3, 11), 7).tolist())
    with pytest.warns(UserWarning, match="content of experiments 77 in .*SHA-256 differs"):
        frames = load_optical_device(miniature)
    assert frames["experiment_77_brightness_40"].shape == (3, 11)


def test_known_prefixes_are_those_of_the_published_files():
    published = "a3d8408c 1c772681 f280b0d1 77625b9e b9a5d1b1 be91e906 3801d9f5 b7e5f5f4 32457fab f7679972 9a5cf51c"
    assert list(optical_device._KNOWN.values()) == [*published.split(), "9fc92ecf"]
    assert list(optical_device._KNOWN) == list(BRIGHTNESS)


def test_missing_files_name_their_origin_and_terms(miniature):
    (miniature / file_name(73)).unlink()
    (miniature / file_name(80)).unlink()
    for path, words in ((miniature, "no file of experiments 73, 80"), (miniature / "none", "must be a folder")):
        with pytest.raises(FileNotFoundError, match=words) as caught:
            load_optical_device(path)
        assert isinstance(caught.value, DatasetNotFoundError)
        for part in ("janzing/janzing.github.io", "any scientific purpose", "not downloaded", str(path)):
            assert part in str(caught.value)


@pytest.mark.parametrize("experiments", [[81], [], [69, "70"]])
def test_unknown_experiments(miniature, experiments):
    with pytest.raises(ValueError, match="experiments must be numbers among 69, 70"):
        load_optical_device(miniature, experiments=experiments)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1 2 3\n4 5 6\n", "must have 11 columns .* got 3"),
        (" ".join(["1"] * 10) + " x\n", "must hold finite numbers only"),
        (" ".join(["1"] * 11) + "\n1 2\n", "must hold finite numbers only"),
        ("1 2\n" + " ".join(["1"] * 11) + "\n", "must be a table of numbers"),
        ("", "must be a table of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:The content of experiments")
def test_damaged_files(miniature, content, words):
    (miniature / file_name(70)).write_text(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_optical_device(miniature)
    assert "exp_no_70" in str(caught.value)


def test_two_files_of_one_experiment(miniature):
    (miniature / ("copy of " + file_name(70))).write_text("")
    with pytest.raises(ValueError, match="Experiment 70 has two files"):
        load_optical_device(miniature)
