"""The built-in bilingual sample: our own clean texts, and a generator that multiplies and dirties them."""
