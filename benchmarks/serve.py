"""`aquilamed serve` against the engine alone: first token, tokens per second, and whether every user got his own answer.

    python benchmarks/serve.py [--model smollm2-135m] [--users 1 4 16] [--rounds 3] [--threads 1]

The same prompts, as many tokens, in turn: transformers' continuous batching called directly with token ids (no chat
template, no text, no HTTP), and the server as a process of its own with the official client. Greedy: both must say the
same. `front` is the share of the server's CPU time outside the thread that generates: the overhead where a busy machine
blurs the others. The weights are taken as float32: in bfloat16 near ties fall differently in batches of other sizes.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aquilamed.models import ModelConfig, load_model, load_tokenizer, prompt_ids, save_model, stop_ids
from aquilamed.serve.engine import CHUNK, PAGE
from aquilamed.serve.target import find

CONTEXT = 1024  # tokens of a prompt and its answer: memory holds all users at once
TOPICS = ["a fever", "asthma", "diabetes", "a stroke", "anaemia", "gout", "influenza", "measles"]
TOPICS += ["sepsis", "angina", "eczema", "migraine", "scurvy", "rabies", "cholera", "malaria"]


def prompts(users: int, turn: int) -> list[str]:
    """A question for every user, another one every turn, so that nothing is answered from a cache."""
    return [f"{turn}.{n}: explain what {TOPICS[n % len(TOPICS)]} is and how a doctor treats it." for n in range(users)]


class Alone:
    """The library's manager, fed with token ids and giving back token ids."""

    def __init__(self, config: ModelConfig, users: int) -> None:
        import torch
        from transformers import ContinuousBatchingConfig, GenerationConfig

        self.tokenizer, loaded = load_tokenizer(config), load_model(config)
        settings = GenerationConfig(do_sample=False, eos_token_id=stop_ids(self.tokenizer), max_new_tokens=None)
        batching = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=8 * users, max_batch_tokens=CHUNK, max_requests_per_batch=users
        )
        with torch.inference_mode():
            self.manager = loaded.init_continuous_batching(settings, batching)
            self.manager.start()

    def run(self, asked: list[str], tokens: int) -> dict[str, Any]:
        """Seconds to the first tokens, tokens per second, the answers."""
        ids = [prompt_ids(self.tokenizer, [{"role": "user", "content": text}]) for text in asked]
        first: dict[str, float] = {}
        done: dict[str, list[int]] = {}
        started, spent = time.perf_counter(), time.process_time()
        names = self.manager.add_requests(ids, max_new_tokens=tokens, streaming=True)
        while len(done) < len(names):
            result = self.manager.get_result(timeout=120)
            if result is None:
                raise SystemExit("the engine gave nothing for two minutes")
            first.setdefault(result.request_id, time.perf_counter() - started)
            if result.is_finished():
                done[result.request_id] = result.generated_tokens
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
        answers = [self.tokenizer.decode(done[name], skip_special_tokens=True) for name in names]
        return measured(list(first.values()), sum(map(len, done.values())), seconds, spent, answers)


async def served(address: str, process: int, asked: list[str], tokens: int) -> dict[str, Any]:
    """The same through HTTP with the official client."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=address, api_key="unused", max_retries=0) as client:

        async def one(text: str) -> tuple[float, int, str]:
            stream = await client.chat.completions.create(
                model="bench",
                messages=[{"role": "user", "content": text}],
                max_tokens=tokens,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            )
            first, said, count = 0.0, "", 0
            async for chunk in stream:
                if chunk.usage:
                    count = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    if choice.delta.content and not first:
                        first = time.perf_counter() - started
                    said += choice.delta.content or ""
            return first, count, said

        started, spent = time.perf_counter(), cpu_seconds(process)
        got = await asyncio.gather(*(one(text) for text in asked))
        seconds, after = time.perf_counter() - started, cpu_seconds(process)
    threads = [new - old for new, old in zip(after, spent + [0.0] * len(after), strict=False)]
    run = measured([g[0] for g in got], sum(g[1] for g in got), seconds, sum(threads), [g[2] for g in got])
    return run | {"front": 1 - max(threads) / sum(threads)}  # the busiest thread generates


def measured(first: list[float], tokens: int, seconds: float, spent: float, answers: list[str]) -> dict[str, Any]:
    """One run's numbers. `cpu` is tokens per CPU-second of the process that generates, the client's left out."""
    rates = {"rate": tokens / seconds, "cpu": tokens / spent}
    return {"first": statistics.median(first), "last_first": max(first), **rates, "answers": answers}


def cpu_seconds(process: int) -> list[float]:
    """User and system time of every thread of a process (proc(5)); a thread keeps its place, new ones come last."""
    spent = []
    for task in sorted(Path(f"/proc/{process}/task").iterdir(), key=lambda t: int(t.name)):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        spent.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return spent


def start(model: str, users: int, threads: int) -> tuple["subprocess.Popen[str]", str]:
    """The server as a process; its address."""
    line = [sys.executable, "-m", "aquilamed.cli", "serve", model, "--port", "0", "--name", "bench"]
    line += ["--engine", "transformers", "--max-concurrency", str(users), "--max-context", str(CONTEXT)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", "AQUILAMED_API_KEY": ""}
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for said in process.stdout:
        if found := re.search(r"http://\S+/v1", said):
            return process, found[0]
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    most = max(options.users)
    rows = []
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    config = find(options.model).model_copy(update={"dtype": "float32"})
    save_model(load_model(config), load_tokenizer(config), folder)
    process, address = start(str(folder), most, options.threads)
    alone = Alone(config, most)
    try:
        asyncio.run(served(address, process.pid, prompts(1, 99), 4))  # both warm
        alone.run(prompts(1, 99), 4)
        for users in options.users:
            pairs = []
            for turn in range(options.rounds):
                asked = prompts(users, turn)
                pairs.append(
                    (alone.run(asked, options.tokens), asyncio.run(served(address, process.pid, asked, options.tokens)))
                )
            rows.append(row(users, pairs))
    finally:
        process.terminate()
        process.wait()
        alone.manager.stop()
        shutil.rmtree(folder)
    about = {"machine": platform.processor() or platform.machine(), "load": os.getloadavg()[0], "rows": rows}
    if options.json:
        print(json.dumps(about, indent=2))
        return
    print(f"{options.model}, {options.tokens} tokens, {options.threads} threads, load {about['load']:.1f}")
    print("engine alone / served; medians of the rounds")
    print(
        "users  first token s    last user's first s  tokens/s        overhead  tokens/CPU-s    overhead  front  wrong"
    )
    for r in rows:
        print(
            f"{r['users']:5}  {pair(r, 'first', 2)}  {pair(r, 'last_first', 2)}  {pair(r, 'rate', 1)}"
            f"  {r['rate_overhead']:8.1%}  {pair(r, 'cpu', 1)}  {r['cpu_overhead']:8.1%}  {r['front']:5.1%}  {r['wrong']} of {r['answers']}"
        )


def pair(row: dict[str, Any], key: str, digits: int) -> str:
    """Two numbers of a row."""
    return " / ".join(f"{value:6.{digits}f}" for value in row[key])


def row(users: int, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Medians over rounds; the overhead is the median of the rounds' own."""
    keys = ("first", "last_first", "rate", "cpu")
    both = {key: tuple(statistics.median(pair[side][key] for pair in pairs) for side in (0, 1)) for key in keys}
    front = statistics.median(through["front"] for _, through in pairs)
    over = {f"{key}_overhead": statistics.median(a[key] / b[key] - 1 for a, b in pairs) for key in ("rate", "cpu")}
    wrong = sum(a != b for alone, through in pairs for a, b in zip(alone["answers"], through["answers"], strict=True))
    return {"users": users, **both, **over, "front": front, "wrong": wrong, "answers": users * len(pairs)}


if __name__ == "__main__":
    main()
