"""Doctors at work in the web app: what they are shown, what they said, and where it goes.

    store.py        SQLite: verdicts and comparisons; every verdict on disk before it is acknowledged
    desk.py         a reviewer's queue over a workspace's preference pairs and single answers
    compare.py      two models' answers to one prompt, shown blind, and what the votes on them come to
    hand_over.py    the store → review/verdicts.jsonl and review/pairs.jsonl, which the next run reads

No web framework here: pages, commands and tests call the same functions.
"""
