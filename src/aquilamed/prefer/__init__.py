"""The preference set (paper, section 4): subjective pairs (judged answers) and objective pairs (truth against a wrong option)."""
