"""Pictures and films of real games, and what happens when they cannot be written."""

import logging
import resource
import sys
from contextlib import contextmanager

import av
import numpy as np
import pygame
import pytest
from PIL import Image

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs import ScreenEnvironment
from dqn.evaluation import video as films
from dqn.evaluation.episode import play_episode, render_evaluation
from dqn.evaluation.recorders import PngFolder, Sink, Window
from dqn.evaluation.video import Gif, Video
from dqn.learning.actor import Actor

FRAMES = 200
"""Emulator frames of a test's episode: some fifty decisions, the no-ops taken off."""


class Kept(Sink):
    """Remembers the screens."""

    def __init__(self):
        self.screens = []
        self.last = None

    def add(self, screen):
        assert self.last is None, "nothing comes after the end"
        self.screens.append(screen)

    def end(self, screen):
        self.last = screen

    def close(self):
        pass

    def discard(self):
        pass


@pytest.fixture(params=["Pong", "Breakout"], scope="module")
def environment(request):
    return ScreenEnvironment(Config(game=request.param, env=EnvConfig(max_episode_frames=FRAMES)))


@pytest.fixture(scope="module")
def breakout():
    return ScreenEnvironment(Config(game="Breakout", env=EnvConfig(max_episode_frames=FRAMES)))


def random_player(environment):
    generator = np.random.default_rng(0)
    return lambda stack: generator.integers(environment.spec.num_actions, size=1)


def play(environment, *sinks, **options):
    """The record of a short episode and its screens, the last one apart where it ended."""
    kept = Kept()
    choose = random_player(environment)
    record = play_episode(environment, choose, 1, "test", [kept, *sinks], **options)
    return record, kept.screens, kept.last


def screens_of(count=3, shape=(210, 160)):
    """Noise in 64 colors, which no encoder makes small."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 4, (*shape, 3)).astype(np.uint8) * 80 for _ in range(count)]


def fill(sink, count=3):
    for screen in screens_of(count):
        sink.add(screen)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def largest_file(size):
    """The kernel refuses longer files, to Python and to FFmpeg alike, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# What is written


def test_pictures_are_the_screens(environment, tmp_path):
    with PngFolder(tmp_path / "new" / "pictures") as folder:
        record, screens, _ = play(environment, folder)
        assert names(tmp_path / "new") == ["pictures.part"]
    assert record.length == len(screens) > 40
    assert names(tmp_path / "new") == ["pictures"]
    assert names(tmp_path / "new" / "pictures") == [f"{i:06d}.png" for i in range(len(screens))]
    for i, screen in enumerate(screens):
        with Image.open(tmp_path / "new" / "pictures" / f"{i:06d}.png") as picture:
            assert picture.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(picture), screen)


def test_video_has_every_screen(environment, tmp_path):
    with Video(tmp_path / "game.mp4") as video:
        record, screens, last = play(environment, video)
        assert names(tmp_path) == ["game.mp4.part"]
    assert names(tmp_path) == ["game.mp4"]
    with av.open(str(tmp_path / "game.mp4")) as file:
        stream = file.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert stream.average_rate == 15
    assert len(frames) == record.length + 15, "the end, held for a second"
    for frame, screen in zip(frames, screens + [last] * 15, strict=True):
        assert frame.shape == (420, 320, 3)
        assert np.abs(frame[::2, ::2].astype(int) - screen).mean() < 2


def test_gif_has_every_screen_in_its_own_colors(environment, tmp_path):
    with Gif(tmp_path / "game.gif") as gif:
        record, screens, last = play(environment, gif)
    assert names(tmp_path) == ["game.gif"]
    with Image.open(tmp_path / "game.gif") as picture:
        assert picture.is_animated and picture.n_frames == record.length + 1
        assert picture.size == (320, 420) and picture.info["loop"] == 0
        seconds = 0.0
        for i, screen in enumerate([*screens, last]):
            picture.seek(i)
            seconds += picture.info["duration"] / 1000
            frame = np.asarray(picture.convert("RGB"))
            np.testing.assert_array_equal(frame, screen.repeat(2, axis=0).repeat(2, axis=1))
    assert seconds == pytest.approx(len(screens) / 15 + 1, abs=0.1)
    assert (tmp_path / "game.gif").stat().st_size < 100_000


def test_gif_of_too_many_colors_takes_the_nearest(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    screen = np.stack([ramp, ramp.T, np.zeros_like(ramp)], axis=2)
    with Gif(tmp_path / "game.gif") as gif:
        for shift in range(3):
            gif.add(np.roll(screen, shift, axis=0))
    with Image.open(tmp_path / "game.gif") as picture:
        assert picture.n_frames == 3
        frame = np.asarray(picture.convert("RGB"))[::2, ::2]
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) <= 255
        assert np.abs(frame.astype(int) - screen).mean() < 40


@pytest.mark.parametrize("shape", [(210, 160), (7, 5), (400, 600)])
def test_any_size_makes_a_film(tmp_path, shape):
    for sink in (Video(tmp_path / "game.mp4", 50), Gif(tmp_path / "game.gif", 50)):
        with sink:
            for screen in screens_of(2, shape):
                sink.add(screen)
    with av.open(str(tmp_path / "game.mp4")) as file:
        assert [frame.height for frame in file.decode(video=0)] == [2 * shape[0]] * 2
    with Image.open(tmp_path / "game.gif") as picture:
        assert picture.n_frames == 2 and picture.size == (2 * shape[1], 2 * shape[0])


def test_pictures_are_capped(tmp_path):
    with PngFolder(tmp_path / "pictures", limit=2) as folder:
        fill(folder, 4)
    assert names(tmp_path / "pictures") == ["000000.png", "000001.png"]


# What is left where


@pytest.mark.parametrize("make", [PngFolder, Video, Gif])
def test_an_interrupted_film_leaves_nothing(tmp_path, make):
    def interrupted():
        with make(tmp_path / "film") as sink:
            fill(sink)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [PngFolder, Video, Gif])
def test_without_screens_there_is_no_film(tmp_path, make):
    with make(tmp_path / "film"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [PngFolder, Video, Gif])
def test_a_film_replaces_an_older_one_and_what_a_killed_process_left(tmp_path, make):
    for count in (3, 1):
        sink = make(tmp_path / "film")
        fill(sink, count)
        if count == 3:
            sink.close()
            sink = make(tmp_path / "film")
            fill(sink)  # and is never closed
            before = (tmp_path / "film").stat().st_mtime_ns
        else:
            sink.close()
    assert names(tmp_path) == ["film"]
    assert (tmp_path / "film").stat().st_mtime_ns > before
    if make is PngFolder:
        assert names(tmp_path / "film") == ["000000.png"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other files than pictures"):
        PngFolder(tmp_path)
    assert names(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("make", [Video, Gif])
def test_a_folder_is_no_name_for_a_film(tmp_path, make):
    with pytest.raises(OSError, match="is a folder"):
        make(tmp_path)


@pytest.mark.parametrize("make", [PngFolder, Video, Gif])
def test_a_full_disk_is_an_oserror_and_leaves_nothing(tmp_path, make):
    def film():
        with make(tmp_path / "film") as sink:
            fill(sink, 20)

    with largest_file(1_000), pytest.raises(OSError, match="too large"):
        film()
    assert names(tmp_path) == []


# An episode


def test_an_episode_ends_where_it_is_told(breakout):
    left = iter([False] * 5 + [True])
    record, screens, last = play(breakout, stop=lambda: next(left))
    assert record.length == len(screens) == 5 and last is None


def test_an_episode_is_a_whole_game_not_a_life():
    breakout = ScreenEnvironment(Config(game="Breakout"))
    record, *_ = play(breakout)
    assert record.length > 100 and record.return_ == int(record.return_) >= 0
    again, *_ = play(breakout)
    assert again == record


# During training


def render(folder, step=1_000, game="Breakout", **options):
    """What training does after an evaluation, with a network that likes the first action best."""
    config = Config(game=game, env=EnvConfig(max_episode_frames=FRAMES))

    def make_policy(generator):
        return Actor(lambda stack: np.zeros(len(stack), np.int64), 4, generator)

    return render_evaluation(make_policy, config, step, folder, 1, **options)


def test_evaluation_pictures(tmp_path, caplog):
    record = render(tmp_path)
    assert names(tmp_path) == ["eval_001", "eval_001.mp4"]
    assert len(names(tmp_path / "eval_001")) == record.length
    with av.open(str(tmp_path / "eval_001.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == record.length + 15
    assert not caplog.records


def test_evaluation_pictures_are_a_function_of_the_step(tmp_path):
    def pictures(name, step):
        render(tmp_path / name, step)
        files = sorted((tmp_path / name / "eval_001").iterdir())
        return [path.read_bytes() for path in files]

    first = pictures("a", 1_000)
    assert pictures("b", 1_000) == first
    assert pictures("c", 2_000) != first


def test_a_game_that_cannot_be_drawn_costs_a_line(tmp_path, caplog, monkeypatch):
    for module in [name for name in sys.modules if name == "pygame" or name.startswith("pygame.")]:
        monkeypatch.setitem(sys.modules, module, None)
    assert render(tmp_path, game="CartPole-v1") is None
    assert names(tmp_path) == []
    (line,) = log_lines(caplog)
    assert line.startswith("No eval_001 this time: CartPole-v1 cannot be drawn")


def log_lines(caplog):
    assert all(record.name == "dqn" for record in caplog.records)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return [record.getMessage() for record in caplog.records]


def test_full_disk_costs_the_video_alone(tmp_path, caplog):
    with largest_file(3_000):  # enough for a picture, not for a film
        record = render(tmp_path)
    assert names(tmp_path) == ["eval_001"]
    assert len(names(tmp_path / "eval_001")) == record.length
    (line,) = log_lines(caplog)
    assert line.startswith("No eval_001.mp4 this time: ") and "too large" in line


def test_full_disk_costs_both(tmp_path, caplog):
    with largest_file(100):
        assert render(tmp_path) is None
    assert names(tmp_path) == []
    assert len(log_lines(caplog)) == 2


def test_rename_that_fails(tmp_path, caplog, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert render(tmp_path) is None
    assert names(tmp_path) == []
    assert len(log_lines(caplog)) == 2


def test_missing_encoder_costs_the_video_alone(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(films, "VIDEO_ENCODER", "no_such_encoder")
    record = render(tmp_path)
    assert names(tmp_path) == ["eval_001"]
    assert len(names(tmp_path / "eval_001")) == record.length
    (line,) = log_lines(caplog)
    assert "No eval_001.mp4 this time" in line and "no no_such_encoder encoder" in line


def test_missing_library_costs_the_video_alone(tmp_path, caplog, monkeypatch):
    for module in [name for name in sys.modules if name == "av" or name.startswith("av.")]:
        monkeypatch.setitem(sys.modules, module, None)
    render(tmp_path)
    assert names(tmp_path) == ["eval_001"]
    (line,) = log_lines(caplog)
    assert "no libx264 encoder" in line


def test_a_folder_in_use_costs_the_pictures_alone(tmp_path, caplog):
    (tmp_path / "eval_001").mkdir()
    (tmp_path / "eval_001" / "notes.txt").write_text("mine")
    assert render(tmp_path) is not None
    assert names(tmp_path) == ["eval_001", "eval_001.mp4"]
    assert names(tmp_path / "eval_001") == ["notes.txt"]
    (line,) = log_lines(caplog)
    assert line.startswith("No eval_001/ this time: ")


def test_a_stopped_evaluation_leaves_nothing(tmp_path, caplog):
    left = iter([False] * 5 + [True])
    assert render(tmp_path, stop=lambda: next(left)) is None
    assert names(tmp_path) == [] and not caplog.records


# The window


def test_no_window_without_a_display(monkeypatch):
    for variable in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match="no display"):
        Window("DQN")


def test_no_window_without_pygame(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ConfigError, match="needs pygame"):
        Window("DQN")


def test_window_shows_the_screen_and_its_closing_ends_the_play(breakout, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with Window("DQN", frames_per_second=1000) as window:
        record, _, last = play(breakout, window, stop=window.closed)
        assert record.length > 40 and not window.closed()
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
        np.testing.assert_array_equal(shown[::4, ::4], last)
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        record, *_ = play(breakout, window, stop=window.closed)
        assert record.length == 1 and window.closed()
    assert not pygame.display.get_init()
