"""``watch RUN``: an agent that plays in the browser, with what it sees and how it values
actions."""

import functools
import sys

import torch

from dqn.commands.evaluate import make_model
from dqn.config.commands import WatchOptions
from dqn.config.shipped import distinct_runs
from dqn.config.words import printable
from dqn.device import resolve_device, use_precision, use_threads
from dqn.report.groups import short_names
from dqn.run.process import log_to_terminal
from dqn.storage.saved_run import checkpoint_names, load_agent
from dqn.web.game import Game
from dqn.web.listen import HOST, PORT, listen
from dqn.web.player import WatchedRun


def run(options: WatchOptions) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        ConfigError: as ``load_agent``, a game cannot be rendered, or the port is in use.
    """
    log_to_terminal()
    device = resolve_device(options.device)
    folders = distinct_runs(options.run)
    names = short_names(folders)
    runs = [watched(run, device, name) for run, name in zip(folders, names, strict=True)]
    for watched_run in runs:
        agent = watched_run.load("latest")
        Game(agent, options.seed).close()  # what cannot be shown is found now, not in the page
        use_threads(agent.config.threads)
        use_precision(agent.config.precision)
    # Imported here: it takes a third of a second, and most mistakes have been found by now.
    from dqn.web.server import Watch

    wanted = PORT if options.port is None else options.port
    with listen(wanted, or_next=options.port is None) as listener:
        port = listener.getsockname()[1]
        if port != wanted:
            print(f"port {wanted} is in use; taking {port}", file=sys.stderr)
        print(f"http://{HOST}:{port} shows the agent playing; Ctrl-C ends it", flush=True)
        watch = Watch(runs, options.seed, port)
        try:
            watch.server().run(sockets=[listener])
        finally:
            watch.close()
    return 0


def watched(run: str, device: torch.device, name: str) -> WatchedRun:
    """A run's folder, or a shipped agent, as something to watch; ``name`` is its tab's."""
    load = functools.partial(load_agent, make_model, run, device=device)
    return WatchedRun(printable(name), load, functools.partial(checkpoint_names, run))
