"""The SFT set (paper, section 3): cleaning, safety, Deita scores, Context Relevance, selection."""
