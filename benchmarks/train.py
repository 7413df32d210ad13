"""The three trainings on a CPU against TRL: same rows, same tokens, same optimiser steps, CPU-seconds.

    make bench-train                                    prints one JSON object as its last line
    python benchmarks/train.py --tasks sft --rounds 1   less of it

Peers: TRL with the defaults that its documentation's example runs with (bf16, gradient checkpointing, batches of 8,
padded), and with the best of its flags that we found for a CPU: float32, no checkpointing, fused AdamW, either packed
(bfd) or one row at a time, whichever is faster; for DPO also reference log-probabilities computed once. Every
measurement is a process of its own; the contestants alternate. Rows are real (public data, read at run time).
"""

import argparse
import gzip
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

DATA = Path(__file__).parents[2] / "shared" / "data"
MODEL = "smollm2-135m"
LENGTH = 1024  # TRL's default max_length: nothing is cut on either side
LR = 1e-5
SIZES = {"cpt": 6, "sft": 6, "dpo": 5}  # documents, dialogues, pairs: all of them are one optimiser step
EPOCHS = 2
PEERS = {"cpt": ["default", "packed", "single"], "sft": ["default", "packed", "single"], "dpo": ["default", "single"]}


def main() -> None:
    """Run the contestants in turn and print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument(
        "--rounds", type=int, default=2, help="rounds of ours and of TRL's best flags; defaults run once"
    )
    parser.add_argument("--size", type=int, help="documents, dialogues or pairs instead of the usual number")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="1 where another process has the other core"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.tasks[0], args.one, args.size)))
        return
    if not DATA.is_dir():
        raise SystemExit(f"real public data is not there: {DATA}")
    result: dict[str, float] = {}
    worst = 0.0
    for task in args.tasks:
        found = rounds(task, args.rounds, args.size, args.threads)
        ours = found["ours"]
        cost = {name: statistics.median(r["cpu"] for r in runs) / runs[0]["supervised"] for name, runs in found.items()}
        best = min((name for name in found if name not in ("ours", "default")), key=lambda n: cost[n])
        result[f"{task}_x"] = round(cost["default"] / cost["ours"], 2)
        result[f"{task}_best_x"] = round(cost[best] / cost["ours"], 2)
        floor = 6 * ours[0]["parameters"] * ours[0]["tokens"] / max(r["rate"] for runs in found.values() for r in runs)
        used = floor / statistics.median(r["cpu"] for r in ours)
        if task == "sft":
            result["sft_utilisation"] = round(used, 3)
        apart = [abs(a - b) for a, b in zip(ours[0]["losses"], found[best][0]["losses"], strict=True)]
        worst = max(worst, *apart)
        told = ", ".join(f"{name} {value * 1000:.2f}" for name, value in cost.items())
        print(
            f"{task}: CPU-ms per supervised token: {told}; best flags: {best}; {ours[0]['supervised']} supervised of "
            f"{ours[0]['tokens']} tokens in {EPOCHS} epochs; floor {floor:.1f} CPU-s, {used:.2f} of it used; "
            f"losses ours {ours[0]['losses']}, theirs {found[best][0]['losses']}",
            flush=True,
        )
    print(json.dumps({**result, "max_loss_diff": round(worst, 7)}))


def rounds(task: str, count: int, size: int | None, threads: int) -> dict[str, list[dict[str, Any]]]:
    """The measurements of every contestant, taken in turn."""
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(count):
        for name in ["ours", *PEERS[task]]:
            if name == "default" and turn:
                continue
            command = [sys.executable, __file__, "--tasks", task, "--one", name]
            command += ["--size", str(size)] if size else []
            with tempfile.TemporaryDirectory() as cache:
                env = {**os.environ, "HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
                env["OMP_NUM_THREADS"] = str(threads)
                done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
            if done.returncode:
                raise SystemExit(f"{task} {name} failed:\n{done.stderr[-3000:]}")
            measured = json.loads(done.stdout.splitlines()[-1])
            print(
                f"  {task} {name}: {measured['cpu']:.1f} CPU-s, {measured['wall']:.1f} s", file=sys.stderr, flush=True
            )
            found.setdefault(name, []).append(measured)
    sizes = {(r["supervised"], r["tokens"]) for runs in found.values() for r in runs}
    if len(sizes) != 1:
        raise SystemExit(f"{task}: the contestants did not train on the same tokens: {sizes}")
    return found


def one(task: str, name: str, size: int | None) -> dict[str, Any]:
    """Measure one contestant in this process."""
    import torch

    from aquilamed.models import ModelConfig, load_model, load_tokenizer

    dtype = "float32"
    tokenizer = load_tokenizer(ModelConfig(path=MODEL))
    model = load_model(ModelConfig(path=MODEL, dtype=dtype))
    rows = {"cpt": documents, "sft": dialogues, "dpo": pairs}[task](tokenizer, size or SIZES[task])
    rate = matrix_rate()
    with tempfile.TemporaryDirectory() as folder:
        make = ours if name == "ours" else theirs
        start, wall = time.process_time(), time.perf_counter()
        trainer = make(task, name, Path(folder), model, tokenizer, rows)
        trainer.train()
        cpu, wall = time.process_time() - start, time.perf_counter() - wall
    supervised = {
        "cpt": lambda: sum(len(r) - 1 for r in rows),
        "sft": lambda: sum(label != -100 for r in rows for label in r["labels"]),
        "dpo": lambda: sum(len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in rows),
    }[task]()
    tokens = {
        "cpt": lambda: sum(map(len, rows)),
        "sft": lambda: sum(len(r["labels"]) for r in rows),
        "dpo": lambda: sum(2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in rows),
    }[task]()
    losses = [h["loss"] for h in trainer.state.log_history if "loss" in h]
    if not all(map(math.isfinite, losses)):
        raise SystemExit(f"a loss is not a number: {losses}")
    return {
        "cpu": cpu,
        "wall": wall,
        "rate": max(rate, matrix_rate()),
        "losses": losses,
        "supervised": supervised * EPOCHS,
        "tokens": tokens * EPOCHS,
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": torch.get_num_threads(),
    }


def matrix_rate() -> float:
    """float32 operations per CPU-second of the better library on a layer's products, the best of several tries."""
    import torch

    from aquilamed.train.matmul import product

    best = 0.0
    for inner, outer in ((576, 1536), (1536, 576), (1024, 1024)):
        x, w = torch.randn(2048, inner), torch.randn(outer, inner)
        for multiply in (product, torch.nn.functional.linear):
            multiply(x, w)
            for _ in range(5):
                start = time.process_time()
                for _ in range(4):
                    multiply(x, w)
                best = max(best, 8 * 2048 * inner * outer / (time.process_time() - start))
    return best


def ours(task: str, name: str, folder: Path, model: Any, tokenizer: Any, rows: list[Any]) -> Any:
    """The trainer that a stage of ours would run, on these rows."""
    import polars as pl

    from aquilamed.progress import Progress
    from aquilamed.train import align, finetune, pretrain
    from aquilamed.train.fast import make_fast

    progress: Any = Progress(quiet=True)
    ctx: Any = SimpleNamespace(
        work=folder, out=folder, seed=42, progress=progress, inputs={}, layout="ddp", offload=False
    )
    common = {"lr": LR, "epochs": EPOCHS, "warmup": 0.0, "schedule": "constant_with_warmup", "save_steps": None}
    common |= {"weight_decay": 0.0}
    if task == "dpo":
        table = pl.DataFrame(rows).with_columns(heldout=pl.lit(False), id=pl.int_range(pl.len()).cast(pl.String))
        config = align.AlignConfig(**common, batch=len(rows), micro_batch=len(rows), beta=0.1)
        trainer = align._trainer(ctx, config, model, tokenizer, table)
    elif task == "sft":
        packed = finetune.pack_rows([(r["ids"], r["labels"]) for r in rows], LENGTH, packing=True)
        make_fast(model)
        batch = {"batch": len(packed), "micro_batch": largest(len(packed))}
        settings = finetune.FinetuneConfig(**common, **batch, dropout=0.0, validation=0.0, length=LENGTH)
        trainer = finetune._trainer(ctx, settings, model, tokenizer, packed, [])
    else:
        packs = pack(folder, rows)
        make_fast(model)
        batch = {"batch": len(packs), "micro_batch": largest(len(packs))}
        trainer = pretrain._trainer(ctx, pretrain.PretrainConfig(**common, **batch), model, tokenizer, packs)
    silent(trainer)
    return trainer


def largest(rows: int) -> int:
    """The most rows a pass takes: about 4096 tokens, and a divisor of all."""
    return max(n for n in range(1, 5) if rows % n == 0)


def pack(folder: Path, rows: list[list[int]]) -> Any:
    """The rows as corpus/pack writes and training reads them."""
    import numpy as np

    from aquilamed.corpus.pack import Shards
    from aquilamed.train.pretrain import NamedRows

    writer = Shards(folder / "train", LENGTH)
    writer.add(np.concatenate([np.array(r, np.int32) for r in rows]), [len(r) for r in rows])
    writer.flush()
    return NamedRows(folder / "train", "bench")


def theirs(task: str, name: str, folder: Path, model: Any, tokenizer: Any, rows: list[Any]) -> Any:
    """TRL's trainer on these rows: its defaults, or the flags that are best on a CPU."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    values: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": EPOCHS,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    size = 8 if name == "default" else 1
    if name != "default":
        values |= {"bf16": False, "gradient_checkpointing": False, "optim": "adamw_torch_fused"}
    if task == "dpo":
        texts = [{k: r[k] for k in ("prompt", "chosen", "rejected")} for r in rows]
        once = {"precompute_ref_log_probs": True} if name != "default" else {}
        values |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": math.ceil(len(rows) / size)}
        return silent(
            DPOTrainer(
                reloadable(model),
                args=DPOConfig(**values, **once, max_length=LENGTH),
                train_dataset=Dataset.from_list(texts),
                processing_class=tokenizer,
            )
        )
    packed = {"packing": True} if name == "packed" else {}
    given = [{"input_ids": r} for r in rows] if task == "cpt" else [{"messages": r["messages"]} for r in rows]
    config = SFTConfig(
        **values, **packed, max_length=LENGTH, per_device_train_batch_size=size, assistant_only_loss=task == "sft"
    )
    config.gradient_accumulation_steps = 10_000  # a whole epoch is one step; the last, smaller group counts as one
    return silent(
        SFTTrainer(reloadable(model), args=config, train_dataset=Dataset.from_list(given), processing_class=tokenizer)
    )


def reloadable(model: Any) -> Any:
    """The model with the name under which TRL loads its own reference."""
    from aquilamed.models import find_model

    model.config._name_or_path = find_model(MODEL)
    return model


def silent(trainer: Any) -> Any:
    """The trainer without the callback that prints every log."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def lines(path: Path) -> list[Any]:
    """The values of a JSON-lines file, packed or not."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def spread(found: list[Any], length: Any, count: int) -> list[Any]:
    """`count` of them at even steps of length: the sample has the lengths of the whole."""
    ordered = sorted(found, key=length)
    return [ordered[int((i + 0.5) * len(ordered) / count)] for i in range(count)]


def documents(tokenizer: Any, count: int) -> list[list[int]]:
    """Real medical and general texts of at most LENGTH tokens, end token included."""
    from aquilamed.models import document_end

    medical = [r["answer"] for r in lines(DATA / "text" / "medquad.jsonl.gz")[:400:4]]
    general = [r["text"] for r in lines(DATA / "text" / "cmrc2018_wiki_zh.jsonl.gz")[:60]]
    ids = [[*tokenizer(t, add_special_tokens=False)["input_ids"], document_end(tokenizer)] for t in medical + general]
    return spread([i for i in ids if 8 <= len(i) <= LENGTH], len, count)


def dialogues(tokenizer: Any, count: int) -> list[dict[str, Any]]:
    """Real dialogues of three sources, of at most LENGTH tokens: messages, ids, labels."""
    from aquilamed.train.finetune import encode

    doctor = json.loads((DATA / "sft" / "chatdoctor" / "chatdoctor5k.json").read_text(encoding="utf-8"))[:100]
    found = [[("user", r["input"]), ("assistant", r["output"])] for r in doctor]
    names = {"client": "user", "counselor": "assistant", "human": "user", "gpt": "assistant"}
    smile = lines(DATA / "sft" / "smilechat_2000.jsonl.gz")[:100]
    found += [[(names[t["role"]], t["content"]) for t in r["dialog"]] for r in smile]
    share = lines(DATA / "sft" / "medicalgpt" / "medical_sft_1K_format.jsonl")[:100]
    found += [[(names[t["from"]], t["value"]) for t in r["conversations"] if t["from"] in names] for r in share]
    rows = []
    for turns in found:
        messages = [{"role": role, "content": text} for role, text in turns]
        ids, labels = encode(tokenizer, messages)  # type: ignore[arg-type]
        if len(ids) <= LENGTH and any(label != -100 for label in labels):
            rows.append({"messages": messages, "ids": ids, "labels": labels})
    return spread(rows, lambda r: len(r["ids"]), count)


def pairs(tokenizer: Any, count: int) -> list[dict[str, Any]]:
    """Real medical preference pairs: texts for TRL, and the same as token ids for ours."""
    from aquilamed.models import TURN_END
    from aquilamed.train.align import token_pair

    rows = []
    for r in lines(DATA / "preference" / "medicalgpt_reward_test.json"):
        prompt: Any = [{"role": "user", "content": r["question"]}]
        chosen, rejected = ([{"role": "assistant", "content": r[f"response_{k}"]}] for k in ("chosen", "rejected"))
        ids = token_pair(tokenizer, prompt, chosen, rejected)  # type: ignore[arg-type]
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        answers = {k: r[f"response_{k}"] + TURN_END for k in ("chosen", "rejected")}
        same = all(
            tokenizer(text + answers[k], add_special_tokens=False)["input_ids"] == ids["prompt_ids"] + ids[f"{k}_ids"]
            for k in answers
        )
        if same and len(ids["prompt_ids"]) + max(len(ids["chosen_ids"]), len(ids["rejected_ids"])) <= LENGTH:
            rows.append({"prompt": text, **answers, **ids})
    return spread(rows, lambda r: len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]), count)


if __name__ == "__main__":
    main()
