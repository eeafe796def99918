"""Every preset trains: a few hundred steps of a real game, small where size costs only time; and
README's table of them is what they are. ``python tests/test_presets.py`` prints it.
"""

from pathlib import Path

import pytest
from test_resume import checkpoints, content

from dqn.config import Config
from dqn.options import load_config
from main import main

CONFIGS = Path(__file__).parent.parent / "configs"

PRESETS = [path for path in sorted(CONFIGS.glob("*.yaml")) if load_config(path).game is None]
"""Those for any Atari game; the others name their own and learn it in test_lessons.py."""

SMALL = [
    "--game=Pong", "--total-steps=192", "--num-envs=2", "--learning-starts=100", "--threads=1",
    "--env.threads=1", "--env.max-episode-frames=120", "--replay.capacity=1000",
    "--report-period=100", "--evaluate-period=1e6", "--network.hidden-units=16",
    "--learner.batch-size=4", "--learner.update-period=16", "--learner.target-period=40",
    "--evaluation.episodes=1", "--evaluation.held-out-states=1", "--checkpoint-minutes=1e6",
]  # fmt: skip


def final_state(folder: Path, options: list[str], name: str) -> dict[str, bytes]:
    """Train, and read what the last checkpoint holds."""
    assert main([*options, f"--checkpoints-dir={folder}"]) == 0
    return content(checkpoints(folder / "Pong" / f"{name}-seed1")[-1])


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_trains(path: Path, tmp_path: Path) -> None:
    assert final_state(tmp_path, [f"--config={path}", *SMALL], path.stem)


@pytest.mark.parametrize("name", ["rainbow", "btr"])
def test_what_a_preset_draws_is_saved(name: str, tmp_path: Path) -> None:
    """Noise, fractions, priorities: the same network, optimiser and rows in one go and in two."""
    options = [f"--config=configs/{name}.yaml", *SMALL]
    whole = final_state(tmp_path / "whole", options, name)
    final_state(tmp_path / "parts", [*options, "--total-steps=132"], name)
    parts = final_state(tmp_path / "parts", options, name)
    assert [file for file in whole if file != "state" and whole[file] != parts[file]] == []


def parts(config: Config) -> list[str]:
    """What a config is made of, a cell each."""
    network, learner, replay = config.network, config.learner, config.replay
    torso = "nature" if network.torso == "auto" else network.torso.replace("_", "-")
    if torso == "impala":
        torso += f" x{network.width}" + (", spectral norm" if network.spectral_norm else "")
    torso += ", centered" if network.center else ""
    torso += ", layer norm" if network.layer_norm else ""
    head = [word for word in ("dueling", "noisy") if getattr(network, word)]
    values = {
        "expected": "mean",
        "categorical": f"C51, {config.values.atoms} atoms",
        "quantile": f"QR, {config.values.quantiles} quantiles",
        "implicit_quantile": f"IQN, {config.values.samples} fractions",
    }
    rates = [config.optimizer.learning_rate]
    if config.optimizer.learning_rate_end is not None:
        rates.append(config.optimizer.learning_rate_end)
    prioritized = f"prioritized {replay.alpha:g}"
    return [
        torso,
        ", ".join(head) or "plain",
        values[config.values.kind],
        learner.policy,
        prioritized if replay.sampler == "prioritized" else "uniform",
        str(replay.n_step),
        f"{learner.batch_size} / {learner.update_period}",
        str(config.num_envs),
        f"{config.optimizer.name} {' to '.join(f'{rate:g}' for rate in rates)}",
    ]


def table() -> str:
    """README's table of the presets."""
    head = [
        "preset", "torso", "head", "values", "target's policy", "replay", "n", "batch / steps",
        "environments", "optimiser",
    ]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    rows += [[f"`{path.stem}`", *parts(load_config(path))] for path in PRESETS]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_readme_shows_every_preset_and_what_it_is_made_of() -> None:
    assert table() in (PRESETS[0].parent.parent / "README.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(table(), end="")
