"""``python docs/play_onnx.py pong.onnx [SEED]``: plays with an exported network, without torch."""

import sys

import ale_py  # noqa: F401  registers the games with Gymnasium
import gymnasium
import onnxruntime
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

network = onnxruntime.InferenceSession(sys.argv[1])
about = network.get_modelmeta().custom_metadata_map
sticky, actions = float(about["repeat_action_probability"]), about["full_action_space"] == "true"
game = gymnasium.make(
    about["environment"],
    frameskip=1, repeat_action_probability=sticky, full_action_space=actions,
)  # fmt: skip
game = AtariPreprocessing(game, screen_size=int(about["frame_size"]))
game = FrameStackObservation(game, 4, padding_type="zero")
stack, _ = game.reset(seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
score, ended = 0.0, False
while not ended:
    (q_values,) = network.run(None, {"stack": stack[None]})
    stack, reward, lost, timeout, _ = game.step(q_values.argmax())
    score, ended = score + float(reward), lost or timeout
print(f"{about['game']}: {score:g}")
