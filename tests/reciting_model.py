"""A real model folder whose model always gives one answer, word by word: each token's embedding points at the next token alone."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import tiny_model
from aquilamed.models import TURN_END, ModelConfig, load_model, load_tokenizer, save_model


def build(folder: Path, pieces: Sequence[str]) -> Path:
    """Write the model. Its answer to whatever it is asked, at any temperature, are the pieces, a token each; they must differ."""
    import torch
    from tokenizers import AddedToken

    tiny = ModelConfig(path=str(tiny_model.build(folder / "tiny", tied=False)))
    tokenizer, model = load_tokenizer(tiny), load_model(tiny)
    assert tokenizer.add_tokens([AddedToken(p, normalized=False) for p in pieces]) == len(pieces)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    chain = [asked[-1], *tokenizer.convert_tokens_to_ids(list(pieces)), tokenizer.convert_tokens_to_ids(TURN_END)]
    with torch.no_grad():
        embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        embeddings.copy_(torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0)))
        for layer in model.model.layers:  # nothing is added to a token's own embedding
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        head.zero_()
        for token, following in pairwise(chain):
            head[following] = 100 * embeddings[token] / embeddings[token].norm()
    save_model(model, tokenizer, folder / "model")
    return folder / "model"
