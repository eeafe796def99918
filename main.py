"""Train, evaluate and watch deep Q-networks: ``python main.py --game Breakout``."""

import sys

from dqn.__main__ import main, start

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(start())
