"""``precision`` of whole runs: part of their identity and of their scores' label."""

import torch
from support.runs import CARTPOLE, NEVER, TINY, train

from dqn.config.yaml_file import load_run_config
from dqn.device import resolve_precision, use_precision
from dqn.learning.factory import make_model
from dqn.report.curves import read_lines
from dqn.storage.saved_run import load_agent
from main import main

HALF = "--precision=bfloat16"
SHORT = [*CARTPOLE, "--total-steps=800", "--evaluate-period=400"]
CARTPOLE_TINY = ["--game=CartPole-v1", *TINY, "--threads=2"]


def test_a_run_keeps_its_precision(tmp_path, capfd):
    run = train(tmp_path, SHORT, NEVER, HALF)
    longer = [*SHORT, NEVER, f"--checkpoints-dir={tmp_path}", "--total-steps=1200"]
    assert main([*longer, "--precision=float32"]) == 2
    assert "precision is float32, was bfloat16" in capfd.readouterr().err
    assert main(longer) == 0
    assert load_run_config(run).precision == "bfloat16"
    assert main([*longer, "--fresh"]) == 0
    assert load_run_config(run).precision == "float32"


def test_a_run_from_before_there_was_a_choice_is_of_float32(tmp_path):
    run = train(tmp_path, SHORT, NEVER)
    text = (run / "config.yaml").read_text()
    assert "precision: float32\n" in text
    (run / "config.yaml").write_text(text.replace("precision: float32\n", ""))
    train(tmp_path, SHORT, NEVER, "--total-steps=1200", "--precision=float32")


def test_scores_name_the_precision_and_are_played_in_it(tmp_path, capfd):
    for precision, protocol in {"float32": "gymnasium", "bfloat16": "gymnasium, bfloat16"}.items():
        run = train(tmp_path / precision, SHORT, NEVER, f"--precision={precision}")
        assert {line["protocol"] for line in read_lines(run / "evaluations.jsonl")} == {protocol}
        assert f"\n# protocol: {protocol}\n" in (run / "config.yaml").read_text()
        capfd.readouterr()
        assert main(["evaluate", str(run)]) == 0
        assert f"; protocol {protocol}, epsilon 0.05" in capfd.readouterr().out
        model = load_agent(make_model, str(run), "latest", torch.device("cpu")).model
        assert model.q_values
        state = torch.rand(3, 1, 4)
        same = torch.equal(model.q_values(state), model.q_values(state.bfloat16().float()))
        assert same == (precision == "bfloat16"), "inputs are rounded in bfloat16 alone"


def test_a_new_run_is_of_tf32_where_a_gpu_has_it(monkeypatch):
    for capability, precision in (((9, 0), "tf32"), ((8, 0), "tf32"), ((7, 5), "float32")):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda _, c=capability: c)
        assert resolve_precision("auto", torch.device("cuda")) == precision
    assert resolve_precision("auto", torch.device("cpu")) == "float32"


def test_tf32_is_allowed_by_that_precision_alone():
    for precision, kind in (("tf32", "tf32"), ("float32", "ieee"), ("bfloat16", "ieee")):
        use_precision(precision)
        settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv
        assert [setting.fp32_precision for setting in settings] == [kind, kind]


def test_what_a_device_cannot_is_refused(refused, monkeypatch):
    cartpole = ["--game=CartPole-v1", "--device=cpu"]
    assert refused([*cartpole, "--precision=tf32"]) == (
        "precision tf32 exists on GPUs only, but device is cpu; use float32"
    )
    table = [*cartpole, "--method=sarsa", "--tabular.limits=[1,1,1,1]"]
    assert refused([*table, HALF]) == (
        "--precision bfloat16 has no effect with method sarsa; do not set it"
    )
    for library, asked in (
        (torch.ops.mkldnn, "_is_mkldnn_bf16_supported"),
        (torch.backends.mkldnn, "is_available"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(library, asked, lambda: False)
            assert refused([*cartpole, HALF]) == (
                "precision is bfloat16, which this CPU cannot compute; use float32"
            )


def test_train_evaluate_and_play_set_precision_and_threads(tmp_path):
    run = train(tmp_path, CARTPOLE_TINY)
    for command in (
        [*CARTPOLE_TINY, f"--checkpoints-dir={tmp_path}", "--fresh"],
        ["evaluate", str(run)],
        ["play", str(run), f"--png={tmp_path / 'png'}"],
    ):
        use_precision("tf32")
        torch.set_num_threads(1)
        assert main(command) == 0
        assert torch.backends.cuda.matmul.fp32_precision == "ieee", command
        assert torch.get_num_threads() == 2, command


def test_a_run_of_a_gpu_is_evaluated_on_the_cpu_in_float32_and_not_continued_there(
    tmp_path, refused, capfd
):
    run = train(tmp_path, CARTPOLE_TINY)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("precision: float32\n", "precision: tf32\n"))
    assert main(["evaluate", str(run), "--device=cpu"]) == 0
    assert "; protocol gymnasium, epsilon" in capfd.readouterr().out
    said = refused([*CARTPOLE_TINY, f"--checkpoints-dir={tmp_path}", "--device=cpu"])
    assert said == (
        f"{run} was trained on a GPU and cannot be continued on the CPU; repeat its command where "
        "torch can use a GPU, or start anew with --fresh"
    )
