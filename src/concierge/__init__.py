"""concierge: the same local LLM agent stack on every machine, with one command."""

__version__ = "0.1.0"
