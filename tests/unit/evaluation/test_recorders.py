"""Recordings of real games, and what happens when they cannot be written."""

import functools
import logging
import resource
import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import av
import numpy as np
import pygame
import pytest
from PIL import Image

from dqn.config import Config, ConfigError, EnvConfig, EvaluationConfig
from dqn.envs import ScreenEnvironment
from dqn.evaluation.episode import play_episode, render_evaluation
from dqn.evaluation.gif import Gif, film
from dqn.evaluation.recorders import PNG_LIMIT, PngFolder, Window
from dqn.evaluation.video import Video
from dqn.learning.actor import Actor

FRAMES = 200
"""Emulator frames of a test's episode: some fifty decisions, the no-ops taken off."""
RATE = 15
"""Atari's own speed: 60 frames a second, 4 per decision."""

make_video = functools.partial(Video, frames_per_second=RATE)
make_gif = functools.partial(Gif, frames_per_second=RATE)


@pytest.fixture(scope="module")
def breakout():
    return ScreenEnvironment(Config(game="Breakout", env=EnvConfig(max_episode_frames=FRAMES)))


def play(environment, *recorders, **options):
    """The record of a random player's short episode and its screens, the final one last."""
    generator, screens = np.random.default_rng(0), []
    kept = SimpleNamespace(add=screens.append, end=screens.append)
    choose = lambda stack: generator.integers(environment.spec.num_actions, size=1)  # noqa: E731
    record = play_episode(environment, choose, 1, "test", [kept, *recorders], **options)
    return record, screens


def screens_of(count, shape=(210, 160)):
    """Noise in 64 colors, which no encoder compresses well."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 4, (*shape, 3)).astype(np.uint8) * 80 for _ in range(count)]


def fill(recorder, count=3, shape=(210, 160)):
    for screen in screens_of(count, shape):
        recorder.add(screen)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    """The frames of a video or GIF."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


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


def test_every_screen_is_recorded(breakout, tmp_path):
    """The pictures and the GIF exactly; the video and the GIF hold the end for a second."""
    film, animation, folder = (tmp_path / "new" / name for name in ("a.mp4", "a.gif", "pictures"))
    with PngFolder(folder) as pictures, make_video(film) as video, make_gif(animation) as gif:
        record, (*screens, last) = play(breakout, pictures, video, gif)
        assert names(tmp_path / "new") == [".a.gif.part", ".a.mp4.part", ".pictures.part"]
    assert names(tmp_path / "new") == ["a.gif", "a.mp4", "pictures"]
    assert record.length == len(screens) > 40
    assert names(folder) == [f"{i:06d}.png" for i in range(len(screens))]
    for i, screen in enumerate(screens):
        with Image.open(folder / f"{i:06d}.png") as picture:
            assert picture.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(picture), screen)
    with av.open(str(film)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert stream.average_rate == RATE
    for frame, screen in zip(read(film), screens + [last] * RATE, strict=True):
        assert frame.shape == (420, 320, 3)
        assert np.abs(frame[::2, ::2].astype(int) - screen).mean() < 2
    for frame, screen in zip(read(animation), [*screens, last], strict=True):
        np.testing.assert_array_equal(frame, screen.repeat(2, axis=0).repeat(2, axis=1))
    with Image.open(animation) as picture:
        assert picture.info["loop"] == 0
    with av.open(str(animation)) as file:
        assert file.duration / av.time_base == pytest.approx(len(screens) / RATE + 1, abs=0.1)
    content = animation.read_bytes()
    assert len(content) < 40_000 and content.endswith(b";")


def gif_of(path, *screens):
    """Write the screens and read them back, without the enlargement."""
    with make_gif(path) as gif:
        for screen in screens:
            gif.add(screen)
    return [frame[::2, ::2] for frame in read(path)]


def test_gif_has_256_exact_colors_in_every_frame(tmp_path):
    generator = np.random.default_rng(0)
    screens = []
    for count in (256, 2, 255, 256, 1):
        palette = generator.integers(0, 256, (count, 3)).astype(np.uint8)
        often = generator.dirichlet(np.full(count, 0.3))  # a few are common and most are rare
        index = generator.choice(count, size=(60, 40), p=often)
        index.flat[:count] = np.arange(count)
        screens.append(palette[index])
    for frame, screen in zip(gif_of(tmp_path / "game.gif", *screens), screens, strict=True):
        np.testing.assert_array_equal(frame, screen)


def test_gif_of_more_colors_is_close(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    screen = np.stack([ramp, ramp.T, np.zeros_like(ramp)], axis=2)
    screens = [np.roll(screen, shift, axis=0) for shift in range(3)]
    for frame, screen in zip(gif_of(tmp_path / "game.gif", *screens), screens, strict=True):
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) <= 256
        assert np.abs(frame.astype(int) - screen).mean() < 10


def test_gif_writes_as_it_goes_and_only_what_changes(tmp_path):
    (noise,) = screens_of(1)
    file = tmp_path / ".game.gif.part"
    with make_gif(tmp_path / "game.gif") as gif:
        gif.add(noise)
        first = file.stat().st_size
        assert first > 10_000
        for i in range(500):
            noise = noise.copy()
            noise[100, i % 160] ^= 255
            gif.add(noise)
        assert 500 * 20 < file.stat().st_size - first < 500 * 60
        gif.add(noise)
    assert len(read(tmp_path / "game.gif")) == 502, "one that repeats the last is a frame too"


@pytest.mark.parametrize("make", [Video, Gif])
@pytest.mark.parametrize("height, width", [(210, 160), (7, 5), (400, 600)])
def test_any_size_can_be_recorded(tmp_path, make, height, width):
    with make(tmp_path / "film", 50) as recorder:
        fill(recorder, 2, (height, width))
    assert [frame.shape for frame in read(tmp_path / "film")] == [(2 * height, 2 * width, 3)] * 2


def test_the_number_of_pictures_is_limited(tmp_path):
    with PngFolder(tmp_path / "pictures", limit=2) as folder:
        fill(folder, 4)
    assert names(tmp_path / "pictures") == ["000000.png", "000001.png"]


def test_without_a_limit_every_screen_is_kept(tmp_path):
    with PngFolder(tmp_path / "pictures") as folder:
        for _ in range(PNG_LIMIT + 1):
            folder.add(np.zeros((2, 2, 3), np.uint8))
    assert len(names(tmp_path / "pictures")) == PNG_LIMIT + 1


# What is left on disk

each_recorder = pytest.mark.parametrize("make", [PngFolder, make_video, make_gif])


@each_recorder
def test_an_interrupted_or_empty_recording_leaves_nothing(tmp_path, make):
    with pytest.raises(KeyboardInterrupt), make(tmp_path / "film") as recorder:  # noqa: PT012
        fill(recorder)
        raise KeyboardInterrupt
    with make(tmp_path / "film"):
        pass
    assert names(tmp_path) == []


@each_recorder
def test_a_recording_replaces_an_older_one_and_what_a_killed_process_left(tmp_path, make):
    with make(tmp_path / "film") as recorder:
        fill(recorder)
    before = (tmp_path / "film").stat().st_mtime_ns
    killed = make(tmp_path / "film")
    fill(killed)
    with make(tmp_path / "film") as recorder:
        fill(recorder, 1)
    assert names(tmp_path) == ["film"]
    assert (tmp_path / "film").stat().st_mtime_ns > before
    if make is PngFolder:
        assert names(tmp_path / "film") == ["000000.png"]


def test_what_is_no_recording_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds files other than pictures"):
        PngFolder(tmp_path)
    for make in (make_video, make_gif):
        with pytest.raises(OSError, match="Is a directory"):
            make(tmp_path)
    assert names(tmp_path) == ["thesis.txt"]


@each_recorder
def test_a_full_disk_is_an_oserror_and_leaves_nothing(tmp_path, make):
    full = pytest.raises(OSError, match="too large")
    with largest_file(1_000), full, make(tmp_path / "film") as recorder:
        fill(recorder, 20)
    assert names(tmp_path) == []


# During training


def render(folder, step=1_000, game="Breakout", seed=1, **options):
    """What training does after an evaluation, with a policy that always takes the first action."""
    env, settings = EnvConfig(max_episode_frames=FRAMES), EvaluationConfig(epsilon=0)
    config = Config(game=game, seed=seed, env=env, evaluation=settings)

    def make_policy(generator):
        return Actor(lambda stack: lambda: np.zeros(len(stack), np.int64), 4, generator)

    return render_evaluation(make_policy, config, step, folder, 1, **options)


def test_a_game_that_cannot_be_drawn_is_one_warning(tmp_path, caplog, monkeypatch):
    hide("pygame", monkeypatch)
    assert render(tmp_path, game="CartPole-v1") is None
    assert names(tmp_path) == []
    (line,) = log_lines(caplog)
    assert line.startswith("Cannot record eval_001: CartPole-v1 cannot be rendered")


def hide(package, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, module, None)


def log_lines(caplog):
    assert all(record.name == "dqn" for record in caplog.records)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "failure, reason",
    [
        (lambda patch: largest_file(3_000), "too large"),  # enough for a picture, not for a video
        (lambda patch: hide("av", patch), "no libx264 encoder"),
    ],
)
def test_a_failure_of_the_video_does_not_affect_the_pictures(
    tmp_path, caplog, monkeypatch, failure, reason
):
    with failure(monkeypatch) or nullcontext():
        record = render(tmp_path)
    assert names(tmp_path) == ["eval_001"]
    assert len(names(tmp_path / "eval_001")) == record.length
    (line,) = log_lines(caplog)
    assert line.startswith("Cannot record eval_001.mp4: ") and reason in line


def renames_fail(patch):
    for name in ("os.replace", "os.rename"):
        patch.setattr(name, Mock(side_effect=OSError(28, "No space left on device")))


@pytest.mark.parametrize("failure", [lambda patch: largest_file(100), renames_fail])
def test_a_full_disk_costs_both(tmp_path, caplog, monkeypatch, failure):
    with failure(monkeypatch) or nullcontext():
        assert render(tmp_path) is None
    assert names(tmp_path) == []
    assert len(log_lines(caplog)) == 2


def test_a_folder_with_other_files_does_not_affect_the_video(tmp_path, caplog):
    (tmp_path / "eval_001").mkdir()
    (tmp_path / "eval_001" / "notes.txt").write_text("mine")
    assert render(tmp_path) is not None
    assert names(tmp_path) == ["eval_001", "eval_001.mp4"]
    assert names(tmp_path / "eval_001") == ["notes.txt"]
    (line,) = log_lines(caplog)
    assert line.startswith("Cannot record eval_001/: ")


def test_a_stopped_evaluation_leaves_nothing(tmp_path, caplog):
    assert render(tmp_path, stop=iter([False] * 5 + [True]).__next__) is None
    assert names(tmp_path) == [] and not caplog.records


# The window


def test_no_window_without_a_display_or_pygame(monkeypatch):
    for variable in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match="no display"):
        Window("DQN", RATE)
    hide("pygame", monkeypatch)
    with pytest.raises(ConfigError, match="needs pygame"):
        Window("DQN", RATE)


def test_the_window_shows_the_screen_and_closing_it_ends_the_episode(breakout, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with Window("DQN", frames_per_second=1000) as window:
        record, screens = play(breakout, window, stop=window.closed)
        assert record.length > 40 and not window.closed()
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
        np.testing.assert_array_equal(shown[::4, ::4], screens[-1])
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        record, _ = play(breakout, window, stop=window.closed)
        assert record.length == 1 and window.closed()
    assert not pygame.display.get_init()


def test_a_film_is_the_first_minute_of_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("dqn.evaluation.gif.FILM_SECONDS", 2)
    with PngFolder(tmp_path / "pictures") as pictures:
        fill(pictures, 12, (8, 6))
    content, height, width = film(tmp_path / "pictures", 5)
    (tmp_path / "film.gif").write_bytes(content)
    frames = read(tmp_path / "film.gif")
    assert (len(frames), height, width) == (10, 16, 12)
    for frame, screen in zip(frames, screens_of(12, (8, 6)), strict=False):
        np.testing.assert_array_equal(frame[::2, ::2], screen)
