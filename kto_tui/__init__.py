"""Fine-tune language models with KTO from a terminal, and watch and steer the run."""

__version__ = "0.1.0"
