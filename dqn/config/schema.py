"""Every setting, typed and validated. The one place where a default is written.

A field's docstring is its line in ``--help``. Lengths of time are in steps (one decision in one
environment, 4 emulator frames on Atari) unless the name says otherwise.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal


class ConfigError(ValueError):
    """What was typed or configured is wrong; the message is one sentence for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """A text of unknown origin as one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@dataclass(frozen=True)
class EnvConfig:
    """Environment: the game as the agent meets it"""

    protocol: Literal["classic", "machado"] = "classic"
    """classic: a lost life is terminal, no sticky actions; machado: sticky actions (.25), no life
    information. Both begin with up to 30 no-ops."""
    full_action_set: bool = False
    """All 18 joystick actions instead of those the game uses."""
    frame_size: int = 84
    """Side of the square picture an Atari screen is shrunk to; other sizes are another protocol."""
    max_episode_frames: int = 108_000
    """Time limit of an Atari episode, in emulator frames (30 minutes of play); a truncation."""
    max_episode_steps: int | None = None
    """Time limit of another environment's episode, in steps (null: its own); a truncation."""
    reseed_steps: int = 10_000
    """An environment is seeded anew at its first episode end after this many of its own steps,
    which bounds how many recorded actions a continued run must play again."""
    threads: int = 0
    """Emulator threads (0: one for each core)."""
    niceness: int = 10
    """How far the emulators' threads let others go first, from 0 to 19, on Linux; 0 beside other
    work on the same cores."""


@dataclass(frozen=True)
class ReplayConfig:
    """Replay memory"""

    capacity: int = 1_000_000
    """Rows kept, over all environments; one frame a row (7,064 bytes on Atari)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the rows live (auto: with the learner)."""
    storage: Literal["plain", "compressed"] = "plain"
    """compressed: each frame packed by itself, a twentieth of the memory for some of the speed; on
    the CPU only."""
    n_step: int = 1
    """Rewards summed before bootstrapping."""
    gamma: float = 0.99
    """Discount per step."""
    clip_reward: bool | Literal["auto"] = "auto"
    """Clip rewards to [-1, 1] as they are stored (auto: on Atari only)."""
    shape_reward: Literal["none", "cartpole"] = "none"
    """cartpole: more the nearer to the middle and the more upright, as it is stored; scores stay
    what they are."""
    sampler: Literal["uniform", "prioritized"] = "uniform"
    """prioritized: transitions with large errors are drawn more often."""
    alpha: float = 0.5
    """A prioritized row's chance is its priority to this power."""
    beta_start: float = 0.4
    """Its weight in the loss undoes the bias of the draw to this power (1: wholly)."""
    beta_end: float = 1.0
    """The power's final value."""
    beta_steps: int = 50_000_000
    """Steps of the straight line between the two, from the first step on."""


@dataclass(frozen=True)
class NetworkConfig:
    """Network"""

    torso: Literal["auto", "nature", "nips", "data_efficient", "patches", "impala", "mlp"] = "auto"
    """What sees the frames (auto: nature for pictures of 36x36 or more, else mlp)."""
    hidden_units: int = 512
    """Width of the layer between torso and action values; with mlp it is the last of mlp_units."""
    mlp_units: tuple[int, ...] = (128, 128)
    """Widths of an mlp's layers."""
    width: int = 1
    """Of impala: so many times its 16, 32 and 32 channels."""
    pool: int = 0
    """Of impala: maxima of so many by so many regions end it (0: all it has, 11 by 11 of 84x84)."""
    spectral_norm: bool = False
    """Of impala: residual convolutions divided by their largest singular value."""
    center: bool = False
    """Subtract from what is seen the mean of what a random player sees: a game's background goes,
    and what moves remains."""
    layer_norm: bool = False
    """Numbers of mean 0 and variance 1 go into the ReLU of each hidden layer (of impala, into those
    behind its blocks; not into IQN's embedding): large steps do less harm."""
    dueling: bool = False
    """Two streams, the state's value and the actions' advantages."""
    noisy: bool = False
    """Noise in the linear layers behind the torso, of learned size, explores."""
    noisy_sigma: float = 0.5
    """Its initial size."""


@dataclass(frozen=True)
class ValuesConfig:
    """Action values: what the network's numbers mean"""

    kind: Literal["expected", "categorical", "quantile", "implicit_quantile"] = "expected"
    """expected: the mean return; categorical: C51; quantile: QR-DQN; implicit_quantile: IQN."""
    atoms: int = 51
    """Of categorical: returns that have a chance."""
    v_min: float = -10.0
    """Of categorical: the least of them."""
    v_max: float = 10.0
    """Of categorical: the greatest."""
    quantiles: int = 200
    """Of quantile: fractions of the distribution."""
    num_taus: int = 64
    """Of implicit_quantile: fractions drawn to learn, for either network."""
    num_policy_taus: int = 32
    """Of implicit_quantile: fractions whose mean chooses actions."""
    num_cosines: int = 64
    """Of implicit_quantile: waves that a fraction is turned into."""
    kappa: float = 1.0
    """Where the Huber loss turns from square to straight, in units of the return: of expected, and
    of both quantile kinds."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer"""

    name: Literal["adam", "rmsprop"] = "adam"
    """rmsprop is Nature's: centered, epsilon inside the root."""
    learning_rate: float = 6.25e-5
    """Step size, until learning starts if it has another end."""
    learning_rate_end: float | None = None
    """Its final value (null: the same)."""
    learning_rate_decay_steps: int = 0
    """Steps of the straight line between the two."""
    epsilon: float = 1.5e-4
    """Added to Adam's root, or under RMSProp's (there in units of the mean loss, squared)."""
    decay: float = 0.95
    """Running-mean factor of RMSProp's two moments."""


@dataclass(frozen=True)
class LearnerConfig:
    """Learner"""

    batch_size: int = 32
    """Transitions per update."""
    update_period: int = 4
    """Steps per update."""
    loss: Literal["huber", "mse"] = "huber"
    """Of expected action values: huber clips the gradient at values.kappa, with 1 as Nature."""
    target_policy: Literal["greedy", "double", "munchausen"] = "greedy"
    """Which next action a target looks at: the target network's best, the online network's best, or
    all by a softmax of the target network's values, with its entropy and log-policy as reward."""
    munchausen_alpha: float = 0.9
    """How much of the log-policy is added to the reward."""
    munchausen_temperature: float = 0.03
    """Of the softmax, in units of the return."""
    munchausen_clip_min: float = -1.0
    """The least that temperature times log-policy counts for."""
    target_period: int = 10_000
    """Steps between moves of the target network."""
    target_tau: float = 1.0
    """How far the target moves towards the online network each time (1: a hard copy)."""
    max_gradient_norm: float | None = None
    """Scale the gradient down to this norm (null: never)."""
    max_gradient_value: float | None = None
    """Clip each element of the gradient to this size (null: never)."""


@dataclass(frozen=True)
class ExplorationConfig:
    """Exploration"""

    epsilon_start: float = 1.0
    """Probability of a random action until learning starts."""
    epsilon_end: float = 0.1
    """Its final value."""
    epsilon_decay_steps: int = 1_000_000
    """Steps of the straight line between the two."""
    epsilon_off_step: int | None = None
    """From this step on it is 0 (null: never)."""
    spread: float = 0.0
    """Environment i of N has epsilon to the power 1 + spread * i / (N - 1), as Ape-X's actors do
    with an epsilon of .4 and a spread of 7 (0: all explore alike)."""


@dataclass(frozen=True)
class TabularConfig:
    """Tables: the methods that DQN grew out of"""

    limits: tuple[float, ...] = ()
    """Each number that is seen is cut into bins between minus its limit and its limit ([]: what is
    seen is a vector with a single 1, which names the state)."""
    bins: int = 6
    """So many for each number; those at the ends reach on for ever."""
    policy_change: float = 1e-4
    """Of policy_gradient: the run ends when an update moves all probabilities by less, in sum."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation"""

    episodes: int = 30
    """Whole games in each evaluation, one in each of as many environments."""
    epsilon: float = 0.05
    """Probability of a random action while evaluating."""
    held_out_states: int = 512
    """States of a random player on which the mean of the greatest q-value is followed."""


@dataclass(frozen=True)
class Config:
    """Run"""

    game: str | None = None
    """Atari game (Breakout, space_invaders, ALE/Pong-v5) or another Gymnasium id (CartPole-v1)."""
    method: Literal["dqn", "random", "q_learning", "sarsa", "policy_gradient", "reinforce"] = "dqn"
    """What learns: a deep Q-network; nothing; a table of action values (q_learning, sarsa) or of
    preferences (policy_gradient); a network of preferences (reinforce)."""
    seed: int = 1
    """Root of every random draw."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks live (auto: the GPU if torch can use one)."""
    total_steps: int = 50_000_000
    """Length of the run; a finished run is extended by a larger one."""
    num_envs: int = 8
    """Environments stepped together."""
    learning_starts: int = 50_000
    """Steps of random play before the first update."""
    evaluate_period: int = 250_000
    """Steps between evaluations; there is one at the end too."""
    render: bool = False
    """Play one more episode at each evaluation, as pictures and a video."""
    checkpoints_dir: str = "checkpoints"
    """Where the runs' folders are."""
    checkpoint_minutes: float = 5.0
    """Minutes of wall time between checkpoints."""
    keep_checkpoints: int | Literal["all"] = 2
    """Checkpoints kept."""
    threads: int = 0
    """CPU threads of the learner (0: one for each core); equal bits need equal threads."""
    deterministic: bool = False
    """On a GPU: only operations that give equal bits each time, at some cost; the CPU's all do."""
    cuda_graphs: bool | Literal["auto"] = "auto"
    """Acting, remembering and updates as captured CUDA graphs, so that Python's pace is not the
    GPU's (auto: where network and replay memory both are on one)."""
    report_period: int = 5_000
    """Steps between points in TensorBoard and curves.png."""
    env: EnvConfig = EnvConfig()
    """Environment: the game as the agent meets it"""
    replay: ReplayConfig = ReplayConfig()
    """Replay memory"""
    network: NetworkConfig = NetworkConfig()
    """Network"""
    values: ValuesConfig = ValuesConfig()
    """Action values: what the network's numbers mean"""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer"""
    learner: LearnerConfig = LearnerConfig()
    """Learner"""
    exploration: ExplorationConfig = ExplorationConfig()
    """Exploration"""
    tabular: TabularConfig = TabularConfig()
    """Tables: the methods that DQN grew out of"""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation"""


MAY_CHANGE_ON_RESUME = frozenset(
    {
        "total_steps",
        "render",
        "keep_checkpoints",
        "checkpoint_minutes",
        "checkpoints_dir",
        "env.niceness",
    }
)
"""Fields that may differ when a run is continued: none of them changes a bit of the training."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every field by its dotted name, as typed on the command line: ``replay.capacity``, ..."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat


def differing_fields(ours: Config, theirs: Config) -> list[str]:
    """Where two configs of a run differ in its identity, as ``name is ours, was theirs``."""
    mine, other = flatten(ours), flatten(theirs)
    return [
        f"{name} is {mine[name]}, was {other[name]}"
        for name in mine
        if mine[name] != other[name] and name not in MAY_CHANGE_ON_RESUME
    ]
