"""Reading raw public data: documents of the pre-training corpus, dialogues of the SFT sets, exam questions."""
