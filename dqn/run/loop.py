"""The training loop, on one page."""

from dqn.run.session import Session
from dqn.schedule import due, epsilon, epsilons, learning_rate, updates_due


def loop(session: Session) -> None:
    """Add the time step, act on it, send, learn, receive, until the run ends or is stopped.

    The emulators' threads run between send and receive, while the learner learns. A GPU is given
    acting and the updates at once, so that it does not idle while actions are sent; on a CPU both
    are done when they are waited for. No update depends on a row that arrived while it ran, so the
    overlap is deterministic.
    """
    config, agent, metrics = session.config, session.agent, session.metrics
    environment, replay, learner = agent.environment, agent.replay, agent.learner
    timestep = environment.timestep
    while session.before_step():
        before, after = session.step, session.step + config.num_envs
        replay.add_timestep(timestep)
        acting = agent.actor.begin(timestep.stack, epsilons(config, before))
        learner.learning_rate = learning_rate(config, before)
        learning = agent.begin_learning(updates_due(config, before, after))
        action = acting()
        environment.send(action)
        replay.add_action(action)
        learning()
        timestep = environment.receive()
        session.step = after
        for _ in range(due(before, after, config.learner.target_period)):
            learner.sync_target()
        metrics.count(timestep, after, epsilon(config, after))
        if due(before, after, config.report_period):
            session.report()
