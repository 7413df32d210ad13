"""Aquila-Med: the full, open process from a general LLM to a bilingual medical one."""

__version__ = "0.1.0"
