"""Deep Q-networks on Atari: train, evaluate, watch and resume agents."""

__version__ = "0.1.0"
