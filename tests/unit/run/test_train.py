"""The loop against a literal tape of its calls."""

import functools
import itertools
from types import SimpleNamespace

import numpy as np

from dqn.config import Config, ExplorationConfig, LearnerConfig, OptimizerConfig
from dqn.learning.factory import learn
from dqn.run.loop import loop
from dqn.schedule import epsilon, learning_rate
from dqn.types import TimeStep


def a_timestep(n, t):
    no = np.zeros(n, bool)
    return TimeStep(np.full((n, 1, 1), t), np.zeros(n, np.float32), no, no, no)


class Tape:
    """A session whose parts write down each call."""

    def __init__(self, config):
        self.config, self.step, self.calls = config, 0, []
        self._time = 0
        self.metrics = SimpleNamespace(count=self._count)
        say = self.calls.append
        self.agent = SimpleNamespace(
            environment=SimpleNamespace(
                timestep=a_timestep(config.num_envs, 0),
                send=lambda action: say(f"send {action[0]}"),
                receive=self._receive,
            ),
            replay=SimpleNamespace(
                add_timestep=lambda timestep: say(f"add time step {timestep.stack[0, 0, 0]}"),
                add_action=lambda action: say(f"add action {action[0]}"),
                sample=self._sample,
                update_priorities=self._priorities,
            ),
            learner=SimpleNamespace(update=self._update, sync_target=lambda: say("sync")),
            actor=SimpleNamespace(begin=self._begin_acting),
            begin_learning=self._begin_learning,
        )
        self.agent.learn = functools.partial(learn, self.agent.replay, self.agent.learner, config)

    def before_step(self):
        self.calls.append(f"go on? {self.step}")
        return self.step < self.config.total_steps

    def _begin_acting(self, *sees):
        self.calls.append("begin to act")
        return functools.partial(self._act, *sees)

    def _begin_learning(self, updates):
        self.calls.append(f"begin {updates} updates")
        return functools.partial(self.agent.learn, updates)

    def _act(self, stack, probabilities):
        self.calls.append(f"act on {stack[0, 0, 0]} at {round(1000 * probabilities[-1])}")
        return np.full(self.config.num_envs, self._time)

    def _receive(self):
        self._time += 1
        self.calls.append(f"receive {self._time}")
        return a_timestep(self.config.num_envs, self._time)

    def _sample(self, batch_size):
        self.calls.append(f"sample {batch_size}")
        return SimpleNamespace(index="index")

    def _update(self, batch, steps):
        rate = learning_rate(self.config, self.step)
        assert self.agent.learner.learning_rate == rate, "the rate is the step's"
        self.calls += ["update"] * steps
        return "priority"

    def _priorities(self, index, priority):
        assert (index, priority) == ("index", "priority")
        self.calls.append("priorities")

    def _count(self, timestep, step, probability):
        assert probability == epsilon(self.config, step)
        self.calls.append(f"count {timestep.stack[0, 0, 0]} at {step}")

    def report(self):
        self.calls.append(f"report {self.step}")


def tape_of(**changes):
    # a target that moves a part of the way may do so several times in a step of all environments
    learner = LearnerConfig(batch_size=7, update_period=4, target_period=6, target_tau=0.5)
    exploration = ExplorationConfig(epsilon_end=0, epsilon_decay_steps=1000)
    optimizer = OptimizerConfig("adam", 1.0, learning_rate_end=0.0, learning_rate_decay_steps=1000)
    tape = Tape(Config(learner=learner, exploration=exploration, optimizer=optimizer, **changes))
    loop(tape)
    return tape.calls


def test_the_loop_of_one_environment_call_by_call():
    calls = tape_of(num_envs=1, learning_starts=3, total_steps=6, report_period=5)
    learn = ["sample 7", "update", "priorities"]
    expected = []
    for t in range(6):
        expected += [f"go on? {t}", f"add time step {t}", "begin to act"]
        expected += [f"begin {int(t + 1 == 4)} updates", f"act on {t} at {1000 - max(t - 3, 0)}"]
        expected += [f"send {t}", f"add action {t}"]
        expected += learn if t + 1 == 4 else []
        expected += [f"receive {t + 1}"]
        expected += ["sync"] if t + 1 == 6 else []
        expected += [f"count {t + 1} at {t + 1}"]
        expected += ["report 5"] if t + 1 == 5 else []
    assert calls == [*expected, "go on? 6"]


def test_the_loop_of_eight_environments_call_by_call():
    calls = tape_of(num_envs=8, learning_starts=16, total_steps=24, report_period=5)
    begin = ["begin to act", "begin 0 updates"]
    assert calls == [
        *["go on? 0", "add time step 0", *begin, "act on 0 at 1000", "send 0", "add action 0"],
        *["receive 1", "sync", "count 1 at 8", "report 8"],
        *["go on? 8", "add time step 1", *begin, "act on 1 at 1000", "send 1", "add action 1"],
        *["receive 2", "sync", "count 2 at 16", "report 16"],
        *["go on? 16", "add time step 2", "begin to act", "begin 2 updates"],
        *["act on 2 at 1000", "send 2", "add action 2"],
        *["sample 14", "update", "update", "priorities"],
        *["receive 3", "sync", "sync", "count 3 at 24", "report 24", "go on? 24"],
    ]


def test_updates_and_steps_keep_their_ratio_for_any_number_of_environments():
    for num_envs, learning_starts in itertools.product((1, 3, 8, 64), (128, 129, 640)):
        calls = tape_of(num_envs=num_envs, learning_starts=learning_starts, total_steps=2000)
        steps = -(-2000 // num_envs) * num_envs  # 2,000 or a little more
        assert calls.count("update") == steps // 4 - learning_starts // 4, num_envs
        assert calls.count("sync") == steps // 6, num_envs
