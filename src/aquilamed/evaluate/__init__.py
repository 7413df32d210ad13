"""Evaluation (paper, section 5): knowledge, single-turn and multi-turn dialogue, and the paper's own numbers."""
