"""An agent in one game, a decision at a time, in the environment and by the protocol of
``play``."""

import numpy as np

from dqn.envs import ScreenEnvironment
from dqn.evaluation.episode import PLAY
from dqn.evaluation.stuck import StuckGames
from dqn.seeds import numpy_generator
from dqn.storage.saved_run import SavedAgent
from dqn.types import Array
from dqn.web.estimates import Estimate, estimate


class Game:
    """One environment, and the agent that decides in it unless a person does.

    Without a person, and with the run's epsilon, a seed's game is the one that ``play`` shows.

    Raises:
        ConfigError: the game cannot be rendered.
    """

    stack: Array
    """``[1, S, *frame]`` of the present."""
    estimate: Estimate
    """The model's, of that stack."""
    choice: int
    """The action that the agent has chosen there; random with probability epsilon."""
    over: bool
    """Whether this is the final screen."""
    screens: list[Array]
    """Those since the decision before, see ``ScreenEnvironment.screens``."""

    def __init__(self, agent: SavedAgent, seed: int) -> None:
        self.environment = ScreenEnvironment(agent.config)
        self.environment.keep_every_screen()
        self.agent = agent
        self.epsilon = agent.config.evaluation.epsilon
        self.start(seed)

    def start(self, seed: int) -> None:
        """Begin the game of a seed."""
        self.seed, self.length, self.total = seed, 0, 0.0
        limit = self.agent.config.evaluation.max_steps_without_reward
        self._stuck_games = StuckGames(limit, 1)
        self.decisions_by_hand = self.agreed = 0
        self.last: tuple[int, int] | None = None
        self.over = self.cut = False
        self._generator = numpy_generator(seed, f"{PLAY} actor")
        self._policy = self.agent.model.make_policy(self._generator)
        self.environment.screens()  # those of the game before
        self._arrive(self.environment.reset(seed, PLAY).stack)

    def replace(self, agent: SavedAgent) -> None:
        """Let another checkpoint of the run play from here on."""
        self.agent = agent
        self._policy = agent.model.make_policy(self._generator)
        self._think()

    def step(self, action: int | None = None) -> None:
        """Play the agent's choice, or a person's ``action``."""
        assert not self.over, "the game is over"
        if action is not None:
            self.decisions_by_hand += 1
            self.agreed += action == self.choice
        played = self.choice if action is None else action
        self.last = played, self.choice
        timestep = self.environment.step(np.array([played]))
        reward = float(timestep.reward[0])
        self.total += reward
        self.length += 1
        self.cut = bool(self._stuck_games.after(timestep)[0])
        self.over = bool(timestep.last[0]) or self.cut
        self._arrive(timestep.stack)

    def close(self) -> None:
        """Release the environment."""
        self.environment.close()

    def _arrive(self, stack: Array) -> None:
        self.stack, self.screens = stack, self.environment.screens()
        self._think()

    def _think(self) -> None:
        self.estimate = estimate(self.agent.model, self.stack)
        if not self.over:  # no decision is made on the final screen
            self.choice = int(self._policy.act(self.stack, self.epsilon)[0])
