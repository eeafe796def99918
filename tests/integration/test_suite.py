"""The ``suite`` command: runs as tasks of real Ray clusters, real kills, and bits of runs alone."""

import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest
from support.clusters import Suite, nodes, suite_json, train_alone
from support.runs import CARTPOLE, checkpoints, newest, reports

from dqn.commands import suite
from dqn.commands.suite_plan import check_folders, identity, make_plan
from dqn.commands.suite_scores import read_scores, summary
from dqn.config import ConfigError
from dqn.config.cli import parse
from dqn.config.commands import SuiteOptions, TrainOptions
from dqn.config.shipped import SUITES
from dqn.config.yaml_file import as_yaml
from dqn.run.folder import RunFolder
from dqn.scale.runs import Run
from main import main

MAZE = [
    "--config=maze_q_learning", "--total-steps=400", "--evaluate-period=200",
    "--report-period=100", "--evaluation.episodes=2", "--num-envs=1",
]  # fmt: skip
"""A run of tenths of a second."""

SHORT = ["--config=cartpole", *CARTPOLE[1:], "--seeds=2", "--checkpoint-minutes=0.01"]
"""Two runs of some ten seconds; each saves every 0.6 s."""


@pytest.mark.ray
@pytest.mark.slow
def test_a_suite_gives_the_runs_that_main_gives_alone(tmp_path, capfd, monkeypatch):
    runs = tmp_path / "runs"
    typed = ["suite", *MAZE, "--seeds=2", f"--checkpoints-dir={runs}"]
    assert main(typed) == 0
    printed = capfd.readouterr()
    assert "maze_q_learning-seed1: running, on " in printed.err
    assert "maze_q_learning-seed2: finished" in printed.err
    assert "final evaluation at step 400, episodes: 2, protocol gymnasium" in printed.out
    saved = suite_json(runs)
    assert [(run["state"], run["attempts"]) for run in saved["runs"]] == [("finished", 1)] * 2
    assert saved["scores"]["games"][0]["config"] == "maze_q_learning"
    train_alone(runs, tmp_path)

    # Again: all is finished, so nothing is started.
    monkeypatch.setattr("dqn.commands.suite.connect", None)
    assert main(typed) == 0
    assert capfd.readouterr().out.endswith(printed.out)


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_worker_and_a_killed_node_lose_nothing(tmp_path):
    runs = tmp_path / "runs"
    with nodes() as cluster:
        suite = Suite(runs, [*SHORT, "--games=CartPole-v1", f"--address={cluster.address}"])
        folders = suite.wait_for(
            lambda: (found := sorted(runs.glob("*/*-seed*"))) and len(found) == 2 and found
        )
        suite.wait_for(lambda: all(map(newest, folders)))
        first = suite.notes()
        assert len({note["node"] for note in first.values()}) == 2, "a node has both"
        elsewhere = next(n for n, note in first.items() if cluster.second[:4] in note["node"])
        os.kill(first[elsewhere]["pid"], signal.SIGKILL)
        suite.wait_for(lambda: suite.notes().get(elsewhere, first[elsewhere]) != first[elsewhere])
        cluster.kill_second()
        status, out, said = suite.wait()
        assert status == 0, said
    attempts = sorted(run["attempts"] for run in suite_json(runs)["runs"])
    assert attempts[0] == 1 and attempts[1] >= 2, said
    assert "its process or node died" in said and "(raylet)" not in said
    assert "CartPole-v1  " in out
    train_alone(runs, tmp_path)


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_and_an_interrupted_driver_continue(tmp_path):
    runs = tmp_path / "runs"
    options = [*SHORT, "--games=CartPole-v1"]
    suite = Suite(runs, options)
    folder = suite.wait_for(lambda: next(runs.glob("*/*-seed1"), None))
    suite.wait_for(lambda: newest(folder))
    suite.send_signal(signal.SIGKILL)
    suite.wait()
    reached, stale = newest(folder), suite.notes()

    suite = Suite(runs, options)  # while processes of the killed one may go on for seconds
    suite.wait_for(lambda: all(note != stale.get(name) for name, note in suite.notes().items()))
    suite.wait_for(lambda: len(suite.notes()) == 2 and newest(folder) > reached)
    before = reports(folder)
    suite.wait_for(lambda: reports(folder) > before or newest(folder) == 12_000)
    suite.send_signal(signal.SIGINT)
    status, _, said = suite.wait()
    assert status == 130, said
    assert "the same command continues" in said
    states = {run["state"] for run in suite_json(runs)["runs"]}
    assert states <= {"stopped", "finished"} and "stopped" in states
    assert checkpoints(folder)

    suite = Suite(runs, options)
    status, _, said = suite.wait()
    assert status == 0, said
    train_alone(runs, tmp_path)


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_that_fails_by_itself_does_not_keep_the_others(tmp_path, capfd):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("seed: 1\n")
    bad.write_text("optimizer: {learning_rate: 1.0e+30}\n")
    short = ["--total-steps=2000", *CARTPOLE[2:], "--games=CartPole-v1", f"--configs={good},{bad}"]
    options = ["suite", *short, f"--checkpoints-dir={tmp_path / 'runs'}", "--name=both"]
    assert main(options) == 1
    printed = capfd.readouterr()
    states = {run["config"]: run for run in suite_json(tmp_path / "runs")["runs"]}
    assert (states["good"]["state"], states["good"]["attempts"]) == ("finished", 1)
    assert (states["bad"]["state"], states["bad"]["attempts"]) == ("failed", 3)
    assert "bad-seed1 failed 3 times" in printed.err
    assert "not finite" in printed.err, "the end of its log"


def test_shipped_suites():
    plans = {name: make_plan(SuiteOptions(run=name)) for name in SUITES}
    assert {name: len(plan.runs) for name, plan in plans.items()} == {
        "atari5": 25, "pong_seeds": 5, "smoke": 4,
    }  # fmt: skip
    (first, *_), folder = plans["atari5"].runs, plans["atari5"].folder
    assert (first.label, folder) == ("BattleZone/dqn-seed1", Path("checkpoints/suites/atari5"))
    assert first.command == (
        "python main.py --game BattleZone --seed 1 --config dqn --threads=1 --env.threads=1 "
        "--device=cpu"
    )
    shares = {"cpus_per_run": 2.5, "gpus_per_run": 0.25}
    for options, expected in (({}, (1, 1, "cpu")), (shares, (2, 2, "cuda"))):
        config = make_plan(SuiteOptions(run="atari5", **options)).runs[0].config
        assert (config.threads, config.env.threads, config.device) == expected


def test_what_is_typed_wins_over_a_suites_file_and_a_variant_over_what_they_share(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(
        "games: [Pong]\nseeds: 3\nconfigs: [laptop]\n"
        "settings: {total_steps: 5e6, replay: {gamma: .5}}\n"
    )
    typed = ["--games=Boxing", "--seeds=1", "--total-steps=7e6", "--config=quick"]
    (run,) = make_plan(parse(SuiteOptions, [str(file), *typed])).runs
    assert (run.label, run.config.total_steps) == ("Boxing/laptop-seed1", 7_000_000)
    assert (run.config.replay.gamma, run.config.learner.update_period) == (0.5, 8)


def test_what_is_wrong_is_said_before_anything_starts(refused, tmp_path, monkeypatch):
    config = "--config=laptop"
    Path("actors.yaml").write_text(
        "games: [Pong]\nconfigs: [laptop]\nsettings: {actors: 2, wandb: null}\n"
    )
    cases = {
        "2 games cannot be played: unknown game 'Pongg', did you mean Pong?; unknown game "
        "'Brakout', did you mean Breakout?": ["--games=Pongg,Freeway,Brakout", config],
        "the suite has game SpaceInvaders twice": ["--games=SpaceInvaders,space_invaders", config],
        "no config given for the suite's runs; try --config laptop": ["--games=Pong"],
        "--render must be true or false, not smoke": ["--render", "smoke"],
        "no game given; try --game Breakout": [config],
        "unknown option --game; did you mean --games?": ["--game=Pong", config],
        "unknown option --seed; did you mean --seeds?": ["--games=Pong", "--seed=2", config],
        "the suite has run Pong/laptop-seed1 twice": ["--games=Pong", "--configs=laptop,laptop"],
        "--seeds must be a whole number from 1 to 1,000, or null, not 0": ["--seeds=0", config],
        "unknown suite 'atari6'; there are atari5, pong_seeds, smoke, or name a file": ["atari6"],
        "env.frame_size is for Atari games only": ["--games=CartPole-v1", config],
        "device is cuda, which needs a share of a GPU": ["--games=Pong", config, "--device=cuda"],
        "unknown option --actors": ["smoke", "--actors=2"],
        "a suite's runs play by themselves; leave --actors out": ["actors.yaml"],
        "--name a/b is not the name of a folder": ["smoke", "--name=a/b"],
        "--name .. is not the name of a folder": ["smoke", "--name=.."],
        "no Ray cluster answers at 127.0.0.1:1;": ["smoke", "--address=127.0.0.1:1"],
        "--address must be auto or HOST:PORT, not here": ["smoke", "--address=here"],
    }
    for sentence, typed in cases.items():
        assert sentence in refused(["suite", *typed]), typed
    monkeypatch.setattr("dqn.scale.address.CURRENT_CLUSTER", tmp_path / "none")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "this machine is a node of no Ray cluster" in refused(
        ["suite", "smoke", "--address=auto"]
    )
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert refused(["suite", "smoke"]) == (
        "Ray is not installed; type `pip install -r requirements-ray.txt`"
    )


def test_another_suite_in_the_same_folder_is_refused(refused, tmp_path):
    folder = tmp_path / "checkpoints" / "suites" / "mine"
    folder.mkdir(parents=True)
    runs = [
        {"run": "Pong/laptop-seed1", "identity": "x", "state": "finished"},
        {"run": "Pong/laptop-seed9", "identity": "", "state": "finished"},
    ]
    (folder / "suite.json").write_text(json.dumps({"runs": runs, "scores": {}}))
    said = refused(["suite", "--games=Pong", "--config=laptop", "--seeds=2", "--name=mine"])
    assert said.startswith(
        "checkpoints/suites/mine is another suite (new: Pong/laptop-seed2; gone: "
        "Pong/laptop-seed9; with other settings: Pong/laptop-seed1); choose another --name"
    )
    for damaged in ([], {"runs": [runs[0] | {"attempts": "two"}], "scores": {}}):
        (folder / "suite.json").write_text(json.dumps(damaged))
        said = refused(["suite", "--games=Pong", "--config=laptop", "--name=mine"])
        assert "suite.json is damaged: " in said and said.endswith("suite's command writes it anew")


def test_the_scores_of_a_suite_stay_until_it_has_new_ones(tmp_path, monkeypatch, caplog):
    """And a run whose evaluations cannot be read hides those of no other."""
    monkeypatch.chdir(tmp_path)
    options = parse(SuiteOptions, ["--games=Pong", "--config=laptop", "--name=mine"])
    plan = make_plan(options)
    plan.folder.mkdir(parents=True)
    first = suite.Suite(options, plan)
    first._scores = {"how": ["at step 1"], "games": []}
    first._save()
    suite.Suite(options, plan)._save()
    assert suite_json(Path("checkpoints"))["scores"] == first._scores
    plan.runs[0].folder.mkdir(parents=True)
    assert read_scores(plan.runs) == []
    assert caplog.messages[-1].endswith("; the run has no score here.")


def test_a_suite_that_is_running_is_not_started_again(refused):
    running = RunFolder(Path("checkpoints/suites/mine"))
    said = refused(["suite", "--games=Pong", "--config=laptop", "--name=mine"])
    assert said.endswith("already; stop it, or choose another --name or --checkpoints-dir")
    running.close()


def test_a_run_of_another_config_is_refused(refused, tmp_path):
    run = tmp_path / "checkpoints" / "Pong" / "laptop-seed2"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("game: Pong\nseed: 2\n")
    said = refused(["suite", "--games=Pong", "--config=laptop", "--seeds=2"])
    assert "Pong/laptop-seed2 belongs to another config (" in said and "num_envs" not in said


def test_a_run_begun_by_hand_belongs_to_a_suite_if_threads_and_device_are_the_same(tmp_path):
    typed = ["--config=laptop", f"--checkpoints-dir={tmp_path}"]
    (run,) = make_plan(parse(SuiteOptions, ["--games=Pong", *typed])).runs
    run.folder.mkdir(parents=True)
    for threads, device, difference in (
        (1, "cpu", None),
        (2, "cpu", "threads is 1, was 2"),
        (1, "NVIDIA H100", "device is cpu, was NVIDIA H100"),
    ):
        options = ["--game=Pong", *typed, f"--threads={threads}", "--env.niceness=0"]
        text = f"# device: {device}\n{as_yaml(parse(TrainOptions, options).settings)}"
        (run.folder / "config.yaml").write_text(text)
        if difference:
            with pytest.raises(ConfigError, match=rf"another config \({difference}\)"):
                check_folders([run])
        else:
            check_folders([run])


@pytest.mark.parametrize(
    "text, sentence",
    [
        (
            "games: Pong",
            "games must be a list, such as [Pong, Breakout], not Pong (in s.yaml, line 1)",
        ),
        ("configs: [1]", "configs must be a list, such as [laptop, rainbow], not [1] (in"),
        ("seeds: [a]", "seeds must be a whole number from 1 to 1,000, or a list such as [1, 2, 3]"),
        ("seeds: [2, 2]", "the suite has seed 2 twice"),
        ("gamse: [Pong]", "unknown setting gamse (in s.yaml, line 1); did you mean games?"),
        ("settings: 3", "settings must be a mapping, such as {total_steps: 1e6}, not 3 (in s.yaml"),
        ("settings: {game: Pong}", "settings.game is set by games (in s.yaml, line 1)"),
        ("settings: {replay: {gama: 1}}", "unknown setting replay.gama"),
        ("games: [Pong, Pong]", "the suite has game Pong twice; all runs must differ"),
    ],
)
def test_a_wrong_suite_file_is_refused(text, sentence, refused, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    assert sentence in refused(["suite", "s.yaml", "--config=laptop"])


def test_a_run_is_another_by_its_settings_and_not_by_its_length():
    def identities(*typed: str) -> list[str]:
        options = parse(SuiteOptions, ["--games=Pong", "--config=laptop", *typed])
        return [identity(run) for run in make_plan(options).runs]

    (ours,) = identities()
    assert identities("--total-steps=7e6", "--keep=1", "--checkpoints-dir=x") == [ours]
    others = [*identities("--replay.gamma=.5"), *identities("--seeds=3")[1:]]
    assert len({ours, *others}) == 4


def test_the_scores_of_a_suite_by_hand(tmp_path):
    """Of Pong a human scores 14.6 and a random player -20.7, of Pooyan no human's is published; an
    earlier evaluation is no score."""
    typed = ["--games=Pong,Pooyan", "--configs=laptop,quick", "--seeds=2"]
    plan = make_plan(parse(SuiteOptions, [*typed, f"--checkpoints-dir={tmp_path}"]))
    ends = {
        "Pong/laptop-seed1": (500_000, 2), "Pong/laptop-seed2": (500_000, 6),
        "Pong/quick-seed1": (400_000, 14.6), "Pooyan/laptop-seed1": (500_000, 7),
    }  # fmt: skip
    runs = [run for run in plan.runs if run.label in ends]
    for run in runs:
        run.folder.mkdir(parents=True)
        same = {"game": run.game, "protocol": "classic", "epsilon": 0.05, "held_out_q": None}
        records = [
            same | {"step": step, "mean": mean, "returns": [mean - 1, mean + 1]}
            for step, mean in ((100_000, 99), ends[run.label])
        ]
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        (run.folder / "evaluations.jsonl").write_text(lines)
    text, data = summary(read_scores(runs))
    # 2 and 6: error 2, Student's t of 12.706; (2 + 20.7) / 35.3 = .643, (6 + 20.7) / 35.3 = .756
    frames = "400,000 to 500,000 (1,600,000 to 2,000,000 frames)"
    assert text.splitlines() == [
        "Mean return [95% interval over seeds] (seeds)",
        f"final evaluation at step {frames}, episodes: 2, protocol classic, epsilon 0.05",
        "",
        "game    laptop                 quick",
        "Pong    4.0 [-21.4, 29.4] (2)  14.6 [-] (1)",
        "Pooyan  7.0 [-] (1)            -",
        "",
        "Human-normalised score over games: Pong; left out: Pooyan",
        "[95% interval by a stratified bootstrap over runs, 20,000 draws]",
        "",
        "statistic       laptop                quick",
        "IQM             0.700 [0.643, 0.756]  1.000 [-]",
        "median          0.700 [0.643, 0.756]  1.000 [-]",
        "optimality gap  0.300 [0.244, 0.357]  0.000 [-]",
    ]
    laptop, quick, pooyan = data["games"]
    assert (laptop["game"], laptop["config"], laptop["scores"]) == ("Pong", "laptop", [2, 6])
    assert [laptop[name] for name in ("mean", "low", "high", "human_normalised")] == pytest.approx(
        [4, -21.412, 29.412, 24.7 / 35.3], abs=1e-3
    )
    assert (quick["low"], quick["high"], quick["human_normalised"]) == (None, None, 1)
    assert pooyan["human_normalised"] is None
    gap = data["aggregates"]["laptop"]["optimality gap"]
    assert gap == {name: pytest.approx(value, abs=1e-3) for name, value in
                   {"value": 0.3003, "low": 0.2436, "high": 0.3569}.items()}  # fmt: skip
    json.dumps(data, allow_nan=False)


def test_what_has_ended_is_scored_and_what_failed_is_told(tmp_path, monkeypatch, capsys, caplog):
    """One run is finished, two are not; instead of a cluster the test says how they end."""
    typed = [*MAZE, "--seeds=3", f"--checkpoints-dir={tmp_path}"]
    options = parse(SuiteOptions, typed)
    plan = make_plan(options)
    for run, steps in zip(plan.runs, (400, 200, 200), strict=True):
        assert main([*shlex.split(run.command)[2:], f"--total-steps={steps}"]) == 0
    check_folders(plan.runs)  # their precision is known by now, the suite's is auto
    states = [run.state for run in suite.Suite(options, plan)._runs]
    assert states == ["finished", "waiting", "waiting"]
    plan.folder.mkdir(parents=True)  # as the command does
    (plan.runs[1].folder / "train.log").write_text("".join(f"line {n}\n" for n in range(30)))
    capsys.readouterr()
    for state, status, expected in (("failed", 0, 1), ("stopped", 130, 130)):

        def end(_: suite.Suite, missing: list[Run], state=state, status=status) -> int:
            for run in missing:
                run.state, run.node, run.reason = state, "vm-12ab", "no disk"
                run.attempts, run.failures = run.attempts + 2, 3
            return status

        monkeypatch.setattr(suite.Suite, "_train", end)
        assert suite.Suite(options, plan).run() == expected
        printed = capsys.readouterr().out
        assert "final evaluation at step 400, episodes: 2" in printed and "] (1)\n" in printed
        saved = suite_json(tmp_path)
        assert [run["state"] for run in saved["runs"]] == ["finished", state, state]
    assert [(run["attempts"], run["node"]) for run in saved["runs"][1:]] == [(4, "vm-12ab")] * 2
    first, *said = [line for line in caplog.messages if re.search("seed2 failed|    line", line)]
    assert first == f"error: {plan.runs[1].folder} failed 3 times: no disk."
    assert said == [f"    line {n}" for n in range(20, 30)]
    assert parse(SuiteOptions, shlex.split(saved["command"])[3:]) == options, "it continues them"
