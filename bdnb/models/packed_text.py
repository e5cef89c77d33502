"""CLIP's text tower on captions without padding, for a CPU: a row a token, as many as there are.

In: tokens (B, L). Out: features (B, D), those of ``text_tower.encode`` to rounding. Attention is
plain products in float32: torch's kernel for CPUs prepares every product of a head anew, which at
14 tokens and more takes six times what the product does.
"""

import torch
from open_clip import CLIP
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F


def packs(clip: CLIP) -> bool:
    """Whether the tower is made of open_clip's plain blocks, which are what is computed here."""
    tower = clip.transformer
    plain = all(type(block) is ResidualAttentionBlock for block in tower.resblocks)
    return plain and bool(tower.batch_first and not tower.grad_checkpointing)


def encode(clip: CLIP, tokens: Tensor) -> Tensor:
    """(B, L) int64, L up to the context length -> (B, D). For towers that ``packs`` and trim."""
    length, ends = tokens.shape[1], tokens.argmax(dim=-1)
    captions, places = (torch.arange(length) <= ends[:, None]).nonzero(as_tuple=True)
    x = clip.token_embedding(tokens[captions, places])
    x = x + F.embedding(places, clip.positional_embedding)
    where, last_rows = captions * length + places, (ends + 1).cumsum(0) - 1
    *blocks, last = clip.transformer.resblocks
    for block in blocks:
        query, key, value = _heads(block.attn, _projected(block.attn, block.ln_1(x)), where, tokens)
        found = _attention(query, key, value, clip.attn_mask[:length, :length])
        x = _rest(block, x, found.transpose(1, 2).flatten(0, 1).flatten(1)[where])
    # Of the last block only the end tokens' rows are used.
    seen, width = last.ln_1(x), x.shape[1]
    query = _projected(last.attn, seen[last_rows], slice(0, width))
    key, value = _heads(last.attn, _projected(last.attn, seen, slice(width, None)), where, tokens)
    query = query.view(len(tokens), last.attn.num_heads, 1, -1)
    mask = clip.attn_mask[ends, None, None, :length]
    x = _rest(last, x[last_rows], _attention(query, key, value, mask).flatten(1))
    features: Tensor = clip.ln_final(x) @ clip.text_projection
    return features


def _projected(attn: nn.MultiheadAttention, x: Tensor, part: slice = slice(None)) -> Tensor:
    """Queries, keys and values of rows (T, W), or a part of them, side by side, float32."""
    return F.linear(x, attn.in_proj_weight[part], attn.in_proj_bias[part]).float()


def _heads(attn: nn.MultiheadAttention, rows: Tensor, where: Tensor, tokens: Tensor) -> Tensor:
    """(T, n W) -> (n, B, heads, L, W / heads); zeros behind a caption's end."""
    padded = rows.new_zeros(tokens.numel(), rows.shape[1]).index_copy(0, where, rows)
    apart = padded.view(*tokens.shape, -1, attn.num_heads, attn.head_dim)
    return apart.permute(2, 0, 3, 1, 4)


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """(B, heads, Q, d), keys and values (B, heads, L, d) -> (B, heads, Q, d). mask: added."""
    with torch.autocast(query.device.type, enabled=False):
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2) + mask
        return scores.softmax(dim=-1) @ value


def _rest(block: ResidualAttentionBlock, x: Tensor, found: Tensor) -> Tensor:
    """A block's output for rows (T, W), given what attention found for them."""
    x = x + block.ls_1(block.attn.out_proj(found))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
