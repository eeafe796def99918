"""Every preset trains: a few hundred steps of a real game, small where size costs only time; and
the table in docs/presets.md is up to date (``python tests/integration/test_presets.py`` prints it).
"""

import pytest
from support.local_workers import play_in_this_process
from support.runs import assert_same_learning, checkpoints, content, train
from support.tiers import slow_except

from dqn.config import Config, flatten
from dqn.config.shipped import PRESETS
from dqn.config.yaml_file import load_config

CONFIGS = {name: load_config(path) for name, path in PRESETS.items()}
FOR_ATARI = [name for name, config in CONFIGS.items() if config.game is None]
"""Those for any Atari game; the others name their own and learn it in test_lessons.py."""

SMALL = [
    "--game=Pong", "--total-steps=360", "--num-envs=2", "--learning-starts=100", "--threads=1",
    "--env.threads=1", "--env.max-episode-frames=120", "--replay.capacity=1000",
    "--report-period=90", "--evaluate-period=1e6", "--network.hidden-units=16",
    "--learner.batch-size=4", "--learner.target-period=40", "--exploration.epsilon-decay-steps=50",
    "--evaluation.episodes=1", "--evaluation.held-out-states=1", "--checkpoint-minutes=1e6",
]  # fmt: skip


DISTINCT = ["dqn", "laptop", "data_efficient_rainbow", "rainbow", "munchausen_iqn", "btr"]
"""Presets that have between them every torso, head, kind of values and target policy."""


@pytest.mark.parametrize("name", slow_except(FOR_ATARI, DISTINCT))
def test_every_preset_trains_and_resumes(name, tmp_path, monkeypatch):
    """What it draws (noise, fractions, rows) is saved: the same network, optimizer and rows in one
    go and in two; and so with an actor without lag."""
    options = [f"--config={name}", *SMALL]
    whole = train(tmp_path / "whole", options)
    assert whole == tmp_path / "whole" / "Pong" / f"{name}-seed1"
    train(tmp_path / "parts", options, "--total-steps=232")
    parts = content(checkpoints(train(tmp_path / "parts", options))[-1])
    files = content(checkpoints(whole)[-1])
    assert [name for name in files if name != "state" and files[name] != parts[name]] == []
    play_in_this_process(monkeypatch)
    lag = ["--distributed.lag=0", "--distributed.round-length=1"]
    assert_same_learning(train(tmp_path / "actor", options, "--actors=1", *lag), whole)


def cells(config: Config) -> dict[str, str]:
    """What a config is made of, by the heads of the columns."""
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
        "implicit_quantile": f"IQN, {config.values.num_taus} fractions",
    }
    rates = [config.optimizer.learning_rate, config.optimizer.learning_rate_end]
    rate = " to ".join(f"{rate:g}" for rate in rates if rate is not None)
    prioritized = f"prioritized {replay.alpha:g}"
    return {
        "torso": torso,
        "head": ", ".join(head) or "plain",
        "values": values[config.values.kind],
        "target's policy": learner.target_policy,
        "replay": prioritized if replay.sampler == "prioritized" else "uniform",
        "n": str(replay.n_step),
        "gamma": f"{replay.gamma:g}",
        "batch / steps": f"{learner.batch_size} / {learner.update_period}",
        "environments": str(config.num_envs),
        "optimizer": f"{config.optimizer.name} {rate}",
        "else": ", ".join(others(config)) or "-",
    }


OTHERS = {
    "env.protocol": "{}",
    "env.frame_size": "frames of {0}x{0}",
    "network.hidden_units": "{} hidden units",
    "network.pool": "{0}x{0} pooling",
    "learner.target_period": "target every {:,}",
    "learner.max_gradient_norm": "gradient norm {:g}",
    "exploration.epsilon_end": "epsilon to {:g}",
}


def others(config: Config) -> list[str]:
    """What else differs from the defaults and decides scores."""
    values, defaults = flatten(config), flatten(Config)
    return [text.format(values[n]) for n, text in OTHERS.items() if values[n] != defaults[n]]


def table() -> str:
    """The table in docs/presets.md."""
    head = ["preset", *cells(Config())]
    rows = [head, ["---"] * len(head)]
    rows += [[f"`{name}`", *cells(CONFIGS[name]).values()] for name in FOR_ATARI]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_readme_shows_every_preset_and_what_it_is_made_of(root):
    assert table() in (root / "docs/presets.md").read_text(encoding="utf-8")


def test_other_programs_names_are_answered_as_the_table_says(root, refused):
    text = (root / "docs/presets.md").read_text(encoding="utf-8").partition("## What other")[2]
    rows = [line.strip("|` ").split("` | `") for line in text.splitlines() if "` | `--" in line]
    assert len(rows) == 16
    for theirs, ours in rows:
        for name in theirs.split("`, `"):
            assert ours in refused([f"--{name.replace('_', '-')}=1"]), name


if __name__ == "__main__":
    print(table(), end="")
