"""The sections of a Config: each setting's type, range, default and line in ``--help``.

Lengths of time are in steps (one decision in one environment, 4 emulator frames on Atari) unless
the name says otherwise.
"""

from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from dqn.config.fields import Device, Games, Probability, Threads, validated

Units = Annotated[int, Interval(ge=1, le=2**20)]
Samples = Annotated[int, Interval(ge=1, le=10_000)]
Return = Annotated[float, Interval(ge=-(10**9), le=10**9)]


@validated
class EnvConfig:
    """Environment"""

    protocol: Literal["classic", "machado"] = "classic"
    """classic: a lost life is terminal, no sticky actions; machado: sticky actions (0.25), lives
    are ignored. Both start with up to 30 no-ops."""
    full_action_set: bool = False
    """Atari: all 18 joystick actions instead of the game's minimal set."""
    frame_size: Annotated[int, Interval(ge=12, le=210)] = 84
    """Atari: side of the square frame in pixels (anything but 84 is a different benchmark)."""
    max_episode_frames: Annotated[int, Interval(ge=4, le=2**31 - 1)] = 108_000
    """Atari: time limit of an episode in emulator frames (30 minutes of play); a truncation."""
    max_episode_steps: Annotated[int, Interval(ge=1, le=2**31 - 1)] | None = None
    """Other environments: time limit of an episode in steps (null: its own); a truncation."""
    reseed_steps: PositiveInt = 10_000
    """Reseed an environment at its first episode end after this many of its own steps: resuming a
    run replays the actions since then."""
    threads: Threads = 0
    """Emulator threads (0: one per core)."""
    niceness: Annotated[int, Interval(ge=0, le=19)] = 10
    """Niceness of the emulator threads on Linux (0: the learner's own; use it when other programs
    share the cores)."""


@validated
class ReplayConfig:
    """Replay memory"""

    capacity: Annotated[int, Interval(ge=1, le=2**40)] = 1_000_000
    """Rows over all environments, one frame each (7,064 bytes on Atari)."""
    device: Device = "auto"
    """Where the rows are stored (auto: the learner's device)."""
    storage: Literal["plain", "compressed"] = "plain"
    """compressed: each frame is compressed, for a twentieth of the memory at some cost in speed;
    CPU only."""
    n_step: Annotated[int, Interval(ge=1, le=1000)] = 1
    """Rewards summed before bootstrapping."""
    gamma: Probability = 0.99
    """Discount factor per step."""
    clip_reward: bool | Literal["auto"] = "auto"
    """Clip stored rewards to [-1, 1] (auto: on Atari only)."""
    shape_reward: Literal["none", "cartpole"] = "none"
    """cartpole: the stored reward is larger the more centered the cart and the more upright the
    pole; reported scores are unchanged."""
    sampler: Literal["uniform", "prioritized"] = "uniform"
    """prioritized: transitions with large errors are sampled more often."""
    alpha: Probability = 0.5
    """Prioritized: exponent of the priorities (0: uniform)."""
    beta_start: Probability = 0.4
    """Prioritized: initial importance-sampling exponent (beta)."""
    beta_end: Probability = 1.0
    """Prioritized: final importance-sampling exponent (1: full correction)."""
    beta_steps: NonNegativeInt = 50_000_000
    """Prioritized: steps of the linear schedule of beta, from the first step."""


@validated
class NetworkConfig:
    """Network"""

    torso: Literal["auto", "nature", "nips", "data_efficient", "patches", "impala", "mlp"] = "auto"
    """Layers below the head (auto: nature for gray frames of 36x36 or more, otherwise mlp)."""
    hidden_units: Units = 512
    """Width of the hidden layer between a convolutional torso and the outputs."""
    mlp_units: tuple[Units, ...] = (128, 128)
    """mlp: widths of the hidden layers."""
    width: Annotated[int, Interval(ge=1, le=64)] = 1
    """impala: multiplier of its 16, 32 and 32 channels."""
    pool: Annotated[int, Interval(ge=0, le=11)] = 0
    """impala: side of the adaptive max pooling's output (0: no pooling)."""
    spectral_norm: bool = False
    """impala: spectral normalization of the residual convolutions."""
    center: bool = False
    """Subtract the mean of evaluation.held_out_states from the input, which removes the
    background."""
    layer_norm: bool = False
    """Layer normalization before each hidden ReLU (impala: those after its blocks; not in IQN's
    embedding); tolerates larger learning rates."""
    dueling: bool = False
    """Dueling head: separate streams for state value and advantages."""
    noisy: bool = False
    """NoisyNet: exploration by learned noise in the linear layers after the torso."""
    noisy_sigma: NonNegativeFloat = 0.5
    """NoisyNet: initial noise scale (sigma_0)."""


@validated
class ValuesConfig:
    """Action values"""

    kind: Literal["expected", "categorical", "quantile", "implicit_quantile"] = "expected"
    """expected: the mean return; categorical: C51; quantile: QR-DQN; implicit_quantile: IQN."""
    atoms: Annotated[int, Interval(ge=2, le=1000)] = 51
    """C51: number of atoms."""
    v_min: Return = -10.0
    """C51: smallest atom."""
    v_max: Return = 10.0
    """C51: largest atom."""
    quantiles: Samples = 200
    """QR-DQN: number of quantiles."""
    num_taus: Samples = 64
    """IQN: fractions (taus) sampled per transition, for the online and for the target network."""
    num_policy_taus: Samples = 32
    """IQN: fractions (taus) averaged to choose an action."""
    num_cosines: Samples = 64
    """IQN: cosine features of a fraction's embedding."""
    kappa: PositiveFloat = 1.0
    """Huber threshold (kappa), for expected values, QR-DQN and IQN."""


@validated
class OptimizerConfig:
    """Optimizer"""

    name: Literal["adam", "rmsprop"] = "adam"
    """rmsprop: Nature's variant, centered, with epsilon inside the root."""
    learning_rate: PositiveFloat = 6.25e-5
    """Learning rate, or its initial value if there is a learning_rate_end."""
    learning_rate_end: NonNegativeFloat | None = None
    """Final learning rate (null: constant)."""
    learning_rate_decay_steps: NonNegativeInt = 0
    """Steps of the linear decay of the learning rate, after learning starts."""
    epsilon: PositiveFloat = 1.5e-4
    """Added to the denominator (RMSProp: inside the root, for the gradient of the mean loss)."""
    decay: Probability = 0.95
    """RMSProp: decay of both running means."""


@validated
class LearnerConfig:
    """Learner"""

    batch_size: Units = 32
    """Transitions per update."""
    update_period: PositiveInt = 4
    """Steps per update."""
    loss: Literal["huber", "mse"] = "huber"
    """Loss of expected values; huber with kappa 1 is Nature's error clipping."""
    target_policy: Literal["greedy", "double", "munchausen"] = "greedy"
    """Next action of the target: greedy by the target network, by the online network (Double DQN),
    or a softmax with entropy and log-policy bonus (Munchausen)."""
    munchausen_alpha: Probability = 0.9
    """Munchausen: scale of the log-policy bonus."""
    munchausen_temperature: PositiveFloat = 0.03
    """Munchausen: softmax temperature, in units of the return."""
    munchausen_clip_min: Annotated[float, Interval(ge=-(10**9), le=0)] = -1.0
    """Munchausen: lower bound of temperature times log-policy."""
    target_period: PositiveInt = 10_000
    """Steps between updates of the target network."""
    target_tau: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Step size of the target network towards the online network (1: a hard copy)."""
    max_gradient_norm: PositiveFloat | None = None
    """Clip the global gradient norm at this value (null: no clipping)."""


@validated
class ExplorationConfig:
    """Exploration"""

    epsilon_start: Probability = 1.0
    """Probability of a random action until learning starts."""
    epsilon_end: Probability = 0.1
    """Final probability of a random action."""
    epsilon_decay_steps: NonNegativeInt = 1_000_000
    """Steps of the linear decay of epsilon, after learning starts."""
    epsilon_off_step: PositiveInt | None = None
    """Step from which epsilon is 0 (null: never)."""
    spread: NonNegativeFloat = 0.0
    """Environment i of N uses epsilon ** (1 + spread * i / (N - 1)); Ape-X: 7 with an epsilon of
    0.4 (0: the same epsilon everywhere)."""


@validated
class DistributedConfig:
    """Distributed replay (--actors)"""

    round_length: Annotated[int, Interval(ge=1, le=100_000)] = 16
    """Steps of each environment between two transfers of weights."""
    lag: Annotated[int, Interval(ge=0, le=100)] = 1
    """Age, in rounds, of the weights that actors use: they play a round while the learner learns
    from earlier ones (0: they wait for it)."""
    threads: Annotated[int, Interval(ge=1, le=1024)] = 1
    """CPU threads of an actor's network, and the CPUs it takes on the cluster; bitwise equal
    results need equal threads."""


@validated
class TabularConfig:
    """Tabular methods"""

    limits: tuple[PositiveFloat, ...] = ()
    """One limit per observed number, which is divided into bins between -limit and limit ([]: the
    observation is one-hot and names the state)."""
    bins: Annotated[int, Interval(ge=2, le=256)] = 6
    """Bins per number; the outermost are unbounded."""
    policy_change: NonNegativeFloat = 1e-4
    """policy_gradient: the run ends when an update changes the probabilities by less, in sum."""


@validated
class EvaluationConfig:
    """Evaluation"""

    episodes: Games = 30
    """Episodes per evaluation, played in parallel environments."""
    epsilon: Probability = 0.05
    """Probability of a random action."""
    max_steps_without_reward: Annotated[int, Interval(ge=1, le=2**31 - 1)] | None = 4_500
    """A game that goes this many steps without a reward is stuck and cut off, with the return it
    had; also in play and recordings (4,500: five minutes of play on Atari; null: never)."""
    held_out_states: Units = 512
    """States of a random player over which the mean of the greatest Q-value is tracked; their mean
    frame is the one that network.center subtracts."""
