"""CLIP's text tower, without the work that no embedding depends on.

In: tokens (B, L). Out: features (B, D), not normalised, those of open_clip's ``encode_text`` to
rounding. The tower is causal and read at a caption's end token. So what lies behind it is left
out, and of the last layer only that place is computed.
"""

import torch
from open_clip import CLIP
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import Tensor, nn

GROUPS, GROUP = 4, 32
"""Into how many groups a CPU puts captions by length at most, and how many make one at least."""


def trims(clip: nn.Module) -> bool:
    """Whether the tower is causal and pools at the end token, so that this module may be used."""
    return getattr(clip, "text_pool_type", "") == "argmax" and clip.attn_mask is not None


def encode(clip: CLIP, tokens: Tensor) -> Tensor:
    """(B, L) int64, L up to the context length -> (B, D).

    On a CPU captions of nearly equal length go through the tower together: little padding.
    """
    ends, groups = tokens.argmax(dim=-1), 1
    if tokens.device.type == "cpu" and not torch.compiler.is_compiling():
        groups = max(1, min(GROUPS, len(tokens) // GROUP))
    order = ends.argsort(stable=True)
    x = clip.token_embedding(tokens[order]) + clip.positional_embedding[: tokens.shape[1]]
    pooled = []
    for part, places in zip(x.chunk(groups), ends[order].chunk(groups), strict=True):
        length = int(places[-1]) + 1 if groups > 1 else x.shape[1]
        mask = clip.attn_mask[:length, :length]
        pooled.append(at_ends(clip.transformer, part[:, :length], places, mask))
    features: Tensor = clip.ln_final(torch.cat(pooled)[order.argsort()]) @ clip.text_projection
    return features


def at_ends(transformer: Transformer, x: Tensor, ends: Tensor, mask: Tensor) -> Tensor:
    """The tower's output (B, W) at the places ``ends`` (B,).

    x: (B, L, W). mask: (L, L), added to attention. Blocks of another kind than open_clip's plain
    one are computed in full.
    """
    rows = torch.arange(len(x), device=x.device)
    *blocks, last = transformer.resblocks
    plain = type(last) is ResidualAttentionBlock and transformer.batch_first
    if not plain or transformer.grad_checkpointing:
        full: Tensor = transformer(x, attn_mask=mask)[rows, ends]
        return full
    for block in blocks:
        x = block(x, attn_mask=mask)
    seen = last.ln_1(x)
    allowed = mask[ends][:, None].repeat_interleave(last.attn.num_heads, dim=0).to(seen.dtype)
    query = seen[rows, ends][:, None]
    found = last.attn(query, seen, seen, need_weights=False, attn_mask=allowed)[0]
    x = x[rows, ends] + last.ls_1(found[:, 0])
    return x + last.ls_2(last.mlp(last.ln_2(x)))
