"""``--list-games``: the Atari games with their published scores."""

from dqn import envs
from dqn.evaluation import scores


def table() -> str:
    """A line for each game; a cell is empty where no score is published."""
    lines = [f"{'game':20} {'random':>10} {'human':>10} {'best':>12}  agent of the best score"]
    for game in envs.atari_games():
        people = "".join(
            f" {_cell(score):>10}"
            for score in (scores.random_score(game), scores.human_score(game))
        )
        best = max(scores.published(game).items(), key=lambda item: item[1], default=None)
        line = f"{game:20}{people}"
        if best:
            agent, frames, protocol = scores.COLUMNS[best[0]]
            line += f" {_cell(best[1]):>12}  {agent}, {frames} million frames, {protocol}"
        lines.append(line.rstrip())
    lines += [
        "",
        "Gymnasium's own environments with discrete actions are games too: --game CartPole-v1",
    ]
    return "\n".join(lines)


def _cell(score: float | None) -> str:
    return "" if score is None else f"{score:,.1f}"
