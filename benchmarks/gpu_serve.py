"""The answer engine on one GPU: tokens per second and the first token's delay for 1, 4 and 16 users at once.

    python benchmarks/gpu_serve.py [--users 1 4 16] [--tokens 128] [--rounds 3]

The model is benchmarks/gpu.py's, 1.2 B parameters with random weights, in bfloat16, with a tokenizer of its own; answers
are greedy and all of full length. Last line: one JSON object. `--smoke` runs the same code with a toy model.
"""

import argparse
import json
import queue
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent))

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from aquilamed.models import ModelConfig, prepare_tokenizer, save_model
from aquilamed.serve.answerer import Piece
from aquilamed.serve.engine import Engine
from aquilamed.serve.sampling import Sampling
from gpu import SIZE, SMOKE

TOPICS = ["a fever", "asthma", "diabetes", "a stroke", "anaemia", "gout", "influenza", "measles"]


def build(folder: Path, smoke: bool) -> None:
    """A random model of the training benchmark's size with a tokenizer of bytes."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw.train_from_iterator(
        TOPICS, trainers.BpeTrainer(special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    tokenizer = prepare_tokenizer(PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>"))
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**(SMOKE if smoke else SIZE))).bfloat16()
    save_model(model, tokenizer, folder)


def answer(engine: Engine, question: str, tokens: int) -> tuple[float, int]:
    """Seconds to the first token, and the number of tokens."""
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    first, count = 0.0, 0
    start = time.perf_counter()
    engine.submit(engine.prompt([{"role": "user", "content": question}]), Sampling(max_tokens=tokens), pieces.put)
    while not (piece := pieces.get()).reason:
        first, count = first or time.perf_counter() - start, count + piece.tokens
    if piece.error:
        raise RuntimeError(piece.error)
    return first, count + piece.tokens


def together(engine: Engine, users: int, tokens: int, turn: int) -> dict[str, float]:
    """All users ask at once: tokens per second, and the median delay of the first token."""
    asked = [f"{turn}.{n}: what is {TOPICS[n % len(TOPICS)]}, and how does a doctor treat it?" for n in range(users)]
    start = time.perf_counter()
    with ThreadPoolExecutor(users) as pool:
        found = list(pool.map(lambda question: answer(engine, question, tokens), asked))
    seconds = time.perf_counter() - start
    return {"rate": sum(n for _, n in found) / seconds, "first": statistics.median(f for f, _ in found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), args.smoke)
        with Engine(ModelConfig(path=folder, dtype="bfloat16"), max_concurrency=max(args.users)) as engine:
            together(engine, max(args.users), 8, 99)  # warm
            for users in args.users:
                runs = [together(engine, users, args.tokens, turn) for turn in range(args.rounds)]
                row: dict[str, Any] = {k: round(statistics.median(r[k] for r in runs), 4) for k in runs[0]}
                rows.append({"users": users, **row})
                print(rows[-1], flush=True)
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(json.dumps({"card": card, "tokens": args.tokens, "rows": rows}))


if __name__ == "__main__":
    main()
