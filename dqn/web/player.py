"""A game that goes on by itself, in a thread of its own: commands in, the newest moment out."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dqn.config import ConfigError
from dqn.evaluation.recorders import HELD_SECONDS
from dqn.learning.actor import QModel
from dqn.storage.saved_run import SavedAgent
from dqn.web.game import Game
from dqn.web.keyboard import action_of
from dqn.web.messages import Command
from dqn.web.moment import Controls, Moment, moment
from dqn.web.saliency import Saliency

PATIENCE_SECONDS = 2.0
"""A moment that nobody has taken for so long stops the game until somebody does."""

LOOK_SECONDS = 1.0
"""Between two looks at the checkpoints that a run has."""

MAX_COMMANDS = 1000
"""Commands that wait to be obeyed, at most."""


@dataclass(frozen=True)
class WatchedRun:
    """How to read a run."""

    name: str
    """Of its tab."""
    load: Callable[[str], SavedAgent]
    """The agent of a checkpoint; raises ConfigError."""
    checkpoints: Callable[[], list[str]]
    """The names of the checkpoints there are now."""


class Player(threading.Thread):
    """Plays one game after the other with an agent until ``stop``.

    Moments that are not taken in time are replaced by newer ones; while none is taken at all, the
    game waits and takes no time.
    """

    def __init__(self, run: WatchedRun, seed: int, on_moment: Callable[[], None]) -> None:
        """``on_moment`` is called in the player's thread when there is a new moment, or when it has
        ended."""
        super().__init__(name=f"player of {run.name}", daemon=True)
        self.failure: str | None = None
        """Why it has ended."""
        self._run, self._seed, self._on_moment = run, seed, on_moment
        self._commands: queue.Queue[Command | None] = queue.Queue(MAX_COMMANDS)
        self._newest: deque[Moment] = deque(maxlen=1)
        self._published = 0.0
        self._stopped = False
        self._controls = Controls()
        self._saliency: Saliency | None = None
        self._missing = 0  # looks at which the checkpoint that plays was not there
        self._saliency_at = 0.0

    def ask(self, command: Command) -> None:
        """Obey a command soon; raises queue.Full if too many are waiting."""
        self._commands.put_nowait(command)

    def take(self) -> bytes | None:
        """The newest moment as a message, if it was not taken before; takes milliseconds."""
        if not self._newest:
            return None
        newest = self._newest.pop()
        if self._commands.empty():
            self._commands.put_nowait(None)  # wakes the game if it waits
        return newest.packed()

    def stop(self) -> None:
        """End soon; ``join`` waits for it."""
        self._stopped = True
        if self._commands.empty():
            self._commands.put_nowait(None)

    def run(self) -> None:
        """Play (in the thread)."""
        try:
            self._play()
        except ConfigError as error:
            self.failure = str(error)
        finally:
            self.failure = self.failure or "the game has stopped; the terminal says why"
            self._on_moment()

    def _play(self) -> None:
        agent = self._run.load("latest")
        self._checkpoints = self._run.checkpoints()
        self._game = Game(agent, self._seed)
        self._renew_saliency()
        try:
            self._publish()
            self._due = time.monotonic() + self._interval()
            self._look_at = time.monotonic() + LOOK_SECONDS
            while not self._stopped:
                self._turn()
        finally:
            self._game.close()

    def _turn(self) -> None:
        """One round of the thread: a command, a look, a piece of saliency or a decision, as is due.
        Decisions come last, because one is always due where they are slower than the game."""
        if command := self._next_command():
            self._obey(command)
            self._publish()
        elif time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._look()
        elif self._wants_saliency() and time.monotonic() >= self._saliency_at:
            self._advance_saliency()
        elif self._plays() and time.monotonic() >= self._due:
            self._advance()
            self._publish()
            self._due = max(self._due + self._interval(), time.monotonic())

    def _next_command(self) -> Command | None:
        """The next command, waiting for it until something else is due."""
        until = min(self._due, self._look_at) if self._plays() else self._look_at
        if self._wants_saliency():
            until = min(until, self._saliency_at)
        timeout = until - time.monotonic()
        try:
            return self._commands.get(block=timeout > 0, timeout=max(0.0, timeout))
        except queue.Empty:
            return None

    def _wants_saliency(self) -> bool:
        saliency = self._saliency if self._controls.saliency else None
        return bool(saliency and saliency.wants(self._game.stack)) and not self._ignored()

    def _advance_saliency(self) -> None:
        """The next piece of a map; a rest as long as it took leaves the game its time."""
        assert self._saliency
        begin = time.monotonic()
        if self._saliency.advance(self._game.stack) and not self._plays():
            self._publish()
        self._saliency_at = 2 * time.monotonic() - begin

    def _plays(self) -> bool:
        """Whether the next decision is due at its time, rather than when something has happened."""
        waits_for_key = self._controls.human and self._by_hand() is None and not self._game.over
        return not (self._controls.paused or waits_for_key or self._ignored())

    def _ignored(self) -> bool:
        return bool(self._newest) and time.monotonic() - self._published > PATIENCE_SECONDS

    def _interval(self) -> float:
        """Seconds until the next decision, or, after a game, until the next game."""
        if self._game.over:
            return HELD_SECONDS
        return 1 / (self._game.environment.decisions_per_second * self._controls.speed)

    def _by_hand(self) -> int | None:
        return action_of(self._controls.keys, self._game.environment.action_names)

    def _advance(self) -> None:
        if self._game.over:
            self._start(self._game.seed + 1)
        elif not self._controls.human:
            self._game.step()
        elif (action := self._by_hand()) is not None:
            self._game.step(action)

    def _start(self, seed: int) -> None:
        self._game.start(seed % 2**63)
        self._renew_saliency()

    def _obey(self, command: Command) -> None:
        controls, value = self._controls, command.value
        controls.obeyed += 1
        match command.name:
            case "step":
                controls.paused = True
                self._advance()
            case "seed":
                self._start(int(value))
            case "checkpoint":
                self._replace(value)
            case "epsilon":
                self._game.epsilon = float(value)
            case "keys":
                controls.keys = frozenset(value)
            case "pause":
                controls.paused = value
            case name:  # speed, human, saliency
                setattr(controls, name, value)
        self._due = min(self._due, time.monotonic() + self._interval())  # at a new speed

    def _replace(self, which: str) -> None:
        """Let a checkpoint play; if it is gone, say so and take the newest."""
        try:
            agent, self._controls.notice = self._run.load(which), ""
        except ConfigError as error:
            agent = self._run.load("latest")
            self._controls.notice = f"{error}; {agent.name} plays now"
        self._game.replace(agent)
        self._renew_saliency()

    def _look(self) -> None:
        """Show checkpoints that have come or gone. The one that plays is given up when it is
        missing twice: ``best`` is away for an instant while it is replaced."""
        found = [] if self._ignored() else self._run.checkpoints()
        if not found:
            return
        name = self._game.agent.name
        self._missing = 0 if name in found else self._missing + 1
        if self._missing > 1:
            self._replace("latest")
            self._controls.notice = f"{name} is gone; {self._game.agent.name} plays now"
        elif found == self._checkpoints or self._missing:
            return
        self._checkpoints = found
        self._publish()

    def _renew_saliency(self) -> None:
        model, self._saliency = self._game.agent.model, None
        if isinstance(model, QModel) and self._game.stack.ndim == 4:
            self._saliency = Saliency(model)

    def _publish(self) -> None:
        if not self._newest:
            self._published = time.monotonic()
        saliency = self._saliency
        self._newest.append(
            moment(self._run.name, self._game, self._controls, self._checkpoints, saliency)
        )
        self._on_moment()
