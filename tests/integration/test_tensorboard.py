"""What TensorBoard shows of a run, asked of a real server."""

import itertools
import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from support.runs import CARTPOLE, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.metadata import (
    SESSION_START_INFO_TAG,
    parse_session_start_info_plugin_data,
)

from dqn.config import MAY_CHANGE_ON_RESUME, Config, flatten
from dqn.report.run_record import read_run
from dqn.report.tensorboard import read_seconds
from main import main


def ask(port, path):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/data/{path}", timeout=5).read()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run and the one that --fresh moved aside for it."""
    folder = tmp_path_factory.mktemp("runs")
    options = [*CARTPOLE, "--total-steps=600", "--evaluate-period=304", "--report-period=100"]
    train(folder, options)
    assert main([*options, f"--checkpoints-dir={folder}", "--fresh", "--render"]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["true", "false"])
def test_scores_first_described_and_no_old_runs(runs, fast):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={runs}", f"--load_fast={fast}"]
    with subprocess.Popen([*command, f"--port={port}"], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(120):
                time.sleep(0.5)
                try:
                    shown = json.loads(ask(port, "plugin/timeseries/tags"))
                    images = json.loads(ask(port, "plugin/images/tags"))
                except OSError:
                    continue
                if shown["scalars"]["runTagInfo"] and images:
                    break
            ((run, tags),) = shown["scalars"]["runTagInfo"].items()
            assert run == "CartPole-v1/dqn-seed1", "the old run is not listed"
            groups = [
                group for group, _ in itertools.groupby(sorted(tags), lambda tag: tag.split("/")[0])
            ]
            assert groups[:2] == ["episode", "evaluation"]
            assert min(tags) == "episode/return"
            assert min(tag for tag in tags if "evaluation/" in tag) == "evaluation/mean"
            described = shown["scalars"]["tagDescriptions"]
            assert set(described) == set(tags)
            assert (
                described["evaluation/mean"]
                == "<p>mean return of an evaluation's episodes (score)</p>"
            )
            query = f"plugin/images/images?run={run}&tag=evaluation/film&sample=0"
            assert ask(port, "plugin/custom_scalars/layout").count(b"title") == 6
            wanted = "request=%7B%22includeMetrics%22:true%7D"
            columns = json.loads(ask(port, f"plugin/hparams/experiment?{wanted}"))
            assert "replay.n_step" in {column["name"] for column in columns["hparamInfos"]}
            assert "evaluation/mean" in {column["name"]["tag"] for column in columns["metricInfos"]}
            film = json.loads(ask(port, query))[-1]
            assert ask(port, f"plugin/images/individualImage?{film['query']}")[:4] == b"GIF8"
        finally:
            server.kill()


def test_the_first_charts_and_the_settings_of_a_run(runs):
    """As TensorBoard's own reader finds them."""
    (run,) = runs.glob("*/dqn-seed1")
    board = EventAccumulator(str(run)).Reload()
    (written,) = board.Tensors("custom_scalars__config__")
    (category,) = Layout.FromString(written.tensor_proto.string_val[0]).category
    assert {chart.title: list(chart.multiline.tag) for chart in category.chart} == {
        "score of evaluations": ["evaluation/mean"],
        "score of training episodes": ["episode/return"],
        "q-values on held-out states": ["learner/held_out_q"],
        "loss": ["learner/loss"],
        "steps per second": ["speed/steps_per_second"],
    }
    tags = board.Tags()["scalars"]
    assert {tag for chart in category.chart for tag in chart.multiline.tag} <= set(tags)
    content = board.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    settings = parse_session_start_info_plugin_data(content).hparams
    assert set(settings) == set(flatten(Config)) - MAY_CHANGE_ON_RESUME, "also those that are null"
    assert settings["replay.capacity"].number_value == 10_000
    assert settings["network.mlp_units"].string_value == "[16]"
    assert settings["learner.max_gradient_norm"].string_value == "null"
    assert settings["network.dueling"].string_value == "false"


def test_a_run_moved_aside_keeps_its_clock(runs):
    (aside,) = runs.glob("*/*.old-*")
    assert not list(aside.glob("*tfevents*"))
    assert read_seconds(aside, ["evaluation/mean"])["evaluation/mean"].keys() == {304, 600}
    assert all(line["minutes"] is not None for line in read_run(str(aside)).evaluations)
