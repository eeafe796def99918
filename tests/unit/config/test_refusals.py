"""A mistake in a command line or a YAML file is one sentence: what, where, what would be right."""

from pathlib import Path

import pytest

from dqn.config import ConfigError
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.config.yaml_file import load_config

ON_CPU = "--device=cpu --num-envs=1"
NO_EPSILON = "--exploration.epsilon-start=0 --exploration.epsilon-end=0"
COMMAND_LINES = {
    # names
    "train Pong": "unexpected 'Pong'; a game is given as --game Breakout",
    "--render maybe": "--render must be true or false, not maybe",
    "--reply.capacity=3": "unknown option --reply.capacity; did you mean --replay.capacity?",
    "--capacity 3": "unknown option --capacity; did you mean --replay.capacity?",
    "--qqqqqq": "unknown option --qqqqqq; --help lists all",
    "-game Pong": "unknown option -game; did you mean --game?",
    "--env Pong": "unknown option --env; here it is --game",
    "--epsilon_eval .1": "unknown option --epsilon-eval; here it is --evaluation.epsilon",
    "--n_envs 8": "unknown option --n-envs; here it is --num-envs",
    # values of the wrong type
    "--game=": "--game needs a value",
    "--game": "--game needs a value",
    "--seed=": "--seed needs a value: a whole number from 0 to 9,223,372,036,854,775,807",
    "--fresh=3": "--fresh takes no value, but one was given",
    "--device gpu": "--device must be auto, cpu or cuda, not gpu",
    "--seed=abc": "--seed must be a whole number from 0 to 9,223,372,036,854,775,807, not abc",
    "--seed=[1": "not [1",
    "--replay.gamma=x": "--replay.gamma must be a number from 0 to 1, not x",
    "--learner.max-gradient-norm=x": "must be a number above 0, or null, not x",
    "--keep=none": "--keep-checkpoints must be a whole number above 0, or all, not none",
    "--replay.clip-reward=x": "--replay.clip-reward must be true, false or auto, not x",
    "--network.mlp-units=3": "must be a list of whole numbers from 1 to 1,048,576, such as [128, 1",
    "--network.mlp-units=[1,a]": "such as [128, 128], not [1, a]",
    "--tabular.limits=[x]": "must be a list of numbers above 0, such as [2.4, 0.2], not [x]",
    # numbers out of range
    "--total-steps=1e400": "--total-steps must be a whole number above 0, not inf",
    "--seed -1": "--seed must be a whole number from 0 to 9,223,372,036,854,775,807, not -1",
    "--replay.gamma -.5": "--replay.gamma must be a number from 0 to 1, not -0.5",
    "--num-envs=0": "--num-envs must be a whole number from 1 to 4,096, not 0",
    "--env.max-episode-frames=1e12": "must be a whole number from 4 to 2,147,483,647, not 1_000_",
    "--optimizer.learning-rate=1e300": "-rate is too large; 3.40282e+38 is the most",
    "--total-steps=1e30": "--total-steps is too large; 9.22337e+18 is the most",
    f"--total-steps={'9' * 400}": "--total-steps is too large; 9.22337e+18 is the most",
    f"--replay.capacity={2**63 - 1}": "must be a whole number from 1 to 1,099,511,627,776, not 9_",
    # contradictions, and settings without effect
    "--replay.capacity=40": "--replay.capacity of 40 leaves 5 rows for each of 8 environments",
    "--learning-starts=0": "--learning-starts of 0 is too early: with 8 environments",
    "--optimizer.learning-rate-end=1e-5": "learning_rate_decay_steps go together; set both or",
    "--optimizer.learning-rate-decay-steps=5": "learning_rate_decay_steps go together; set both",
    "--exploration.spread=7 --num-envs=1": "--exploration.spread needs several environments",
    "--replay.sampler=prioritized --replay.beta-start=.9 --replay.beta-end=.5": (
        "--replay.beta-start of 0.9 must not be above replay.beta_end of 0.5"
    ),
    "--values.kind=categorical --values.v-min=2 --values.v-max=2": (
        "--values.v-min of 2 must be below values.v_max of 2"
    ),
    "--device=cpu --replay.device=cuda": "--replay.device is cuda, but device is cpu",
    "--device=cpu --cuda-graphs=true": "--cuda-graphs is true, but device or replay.device is cpu",
    "--replay.storage=compressed --replay.device=cuda": "compressed works on the CPU only",
    "--learner.loss=mse --values.kappa=2": (
        "--values.kappa has no effect unless learner.loss is huber, and it is mse; change that, or"
    ),
    "--values.kind=categorical --values.kappa=2": (
        "--values.kappa has no effect unless values.kind is expected or quantile or implicit_quant"
    ),
    "--method=sarsa --device=cpu --tabular.bins=7": "has no effect without tabular.limits",
    "--method=sarsa": "--method sarsa runs on the CPU; set device to cpu",
    "--method=sarsa --device=cpu --network.dueling": "has no effect with method sarsa; do not set",
    "--method=sarsa --device=cpu --optimizer.learning-rate=5": "of 5 makes a table diverge",
    "--tabular.bins=7": "--tabular.bins has no effect with method dqn",
    "--method=reinforce --device=cpu": "reinforce learns from one episode at a time; set num_envs",
    f"--method=reinforce {ON_CPU}": "explores by itself; set exploration.epsilon_start",
    f"--method=reinforce {ON_CPU} {NO_EPSILON} --replay.gamma=1": "--replay.gamma of 1 does not",
    f"--method=reinforce {ON_CPU} {NO_EPSILON} --network.noisy": "whose policy explores by itself",
    f"--method=reinforce {ON_CPU} {NO_EPSILON} --network.dueling": "ignores a state's value",
    "--num-envs=8 --learner.target-period=7": "target-period of 7 is below num_envs of 8",
    "--method=random --device=cpu": "--method random always plays at random; set exploration.eps",
    # files
    "--config=nope.yaml": "there is no file nope.yaml; the presets are breakout, btr, c51, ",
    "--config=configs/latop.yaml": (
        "there is no file configs/latop.yaml; did you mean --config laptop?"
    ),
    "--config=/": "cannot read /: Is a directory",
    # other commands
    "evaluate": "no RUN given; try python main.py evaluate pong-laptop",
    "play": "no RUN given; try python main.py play pong-laptop --gif pong.gif",
    "play a b": "expected one RUN, not a b",
    "watch": "no RUN given; try python main.py watch pong-laptop",
    "watch a --port=0": "--port must be a whole number from 1 to 65,535, or null, not 0",
    "watch a --port=70000": "--port must be a whole number from 1 to 65,535, or null, not 70_000",
    "compare --picture a.png": "no RUN given; try python main.py compare",
    "evaluate a --episodes=0": "--episodes must be a whole number from 1 to 4,096, or null, not 0",
    "play a --gif=a.txt": "--gif must be the name of a .gif file, not a.txt",
    "play a --video=a.mkv": "--video must be the name of a .mp4 file, not a.mkv",
    "evaluate a --num-envs=3": "unknown option --num-envs",
    "bench --seconds=0": "--seconds must be a number above 0 and up to 3,600, not 0",
}


def test_command_lines(refused, subtests):
    for typed, said in COMMAND_LINES.items():
        with subtests.test(typed):
            assert said in refused(typed.split())


BAD = Path("bad.yaml")
YAML = {
    # names
    "sed: 1\n": "unknown setting sed (in bad.yaml, line 1); did you mean seed?",
    "replay:\n  capasity: 1\n": (
        "unknown setting replay.capasity (in bad.yaml, line 2); did you mean replay.capacity?"
    ),
    "memory:\n  capacity: 1\n": "unknown setting memory (in bad.yaml, line 1)",
    "3: 4\n": "unknown setting 3 (in bad.yaml, line 1)",
    "true: 4\n": "unknown setting True (in bad.yaml)",
    "fresh: true\n": "unknown setting fresh (in bad.yaml, line 1)",
    # values
    "env: 3\n": (
        "env must be a mapping, such as env: {protocol: classic}, not 3 (in bad.yaml, line 1)"
    ),
    "seed:\n  a: 1\n": "775,807, not {'a': 1} (in bad.yaml, line 1)",
    "game: [Pong]\n": "game must be a text, not [Pong] (in bad.yaml, line 1)",
    "seed:\n": "775,807, not null (in bad.yaml, line 1)",
    "\n\nseed: abc\n": "775,807, not abc (in bad.yaml, line 3)",
    "seed: 2.0\n": "775,807, not 2.0 (in bad.yaml, line 1)",
    "render: 1\n": "render must be true or false, not 1 (in bad.yaml, line 1)",
    # no settings at all
    "- seed\n": "bad.yaml holds a list, not a mapping of settings, such as seed: 1",
    "seed\n": "bad.yaml holds a single value, not a mapping of settings",
    "": "bad.yaml is empty; it should hold settings, such as seed: 1",
    "# nothing\n": "bad.yaml is empty",
    # not YAML
    "seed: 1\nnetwork: [1\n": "bad.yaml, line 3 is not valid YAML",
    "env:\n  threads: 3\n  threads: 3\n": "line 3 is not valid YAML: threads is set twice",
    "seed: &a 1\nthreads: *a\n": "bad.yaml, line 2 is not valid YAML: aliases are not allowed",
    "seed: !!python/object/apply:os.system [exit]\n": "bad.yaml, line 1 is not valid YAML",
    "seed: !!timestamp x\n": "bad.yaml is not valid YAML: a value does not fit its tag",
    "game: 2020-13-45\n": "bad.yaml is not valid YAML",
    "? [a]\n: 1\n": "bad.yaml, line 1 is not valid YAML",
    "\x00\x01": "bad.yaml is not valid YAML",
    "[" * 5000: "bad.yaml is not valid YAML",
}


def test_yaml(refused, subtests):
    for text, expected in YAML.items():
        with subtests.test(text[:40]):
            BAD.write_text(text)
            said = refused(["--config=bad.yaml"])
            assert expected in said
            with pytest.raises(ConfigError) as caught:
                load_config(BAD)
            assert str(caught.value) == said


def test_the_command_line_may_mend_a_file_that_contradicts_itself(refused):
    BAD.write_text("num_envs: 64\nlearning_starts: 100\n")
    said = refused(["--config=bad.yaml"])
    assert said.startswith("learning_starts of 100 is too early: with 64 environments")
    assert said.endswith("(in bad.yaml, line 2)")
    options = parse(TrainOptions, ["--config=bad.yaml", "--num-envs=8"])
    assert options.settings.learning_starts == 100


def test_yaml_in_another_encoding(refused):
    BAD.write_bytes("game: Pöng".encode("latin-1"))
    assert refused(["--config=bad.yaml"]) == "bad.yaml is not UTF-8 text, so not YAML"
