"""CLIP's attention pooling, for the one query that is used (as in OpenAI's own code).

open_clip's asks with every place of the feature map and keeps the answer to the first, their mean.
"""

import torch
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor, nn
from torch.nn import functional as F


class MeanPool(AttentionPool2d):
    """The same parameters, function and output as open_clip's, to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        x = x.flatten(start_dim=2).permute(2, 0, 1)
        x = torch.cat([x.mean(dim=0, keepdim=True), x], dim=0)
        x = x + self.positional_embedding[:, None, :].to(x.dtype)
        found, _ = F.multi_head_attention_forward(
            query=x[:1],
            key=x,
            value=x,
            embed_dim_to_check=x.shape[-1],
            num_heads=self.num_heads,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True,
            training=self.training,
            need_weights=False,
        )
        return found[0]


def take_mean_only_(clip: nn.Module) -> None:
    """Let a ResNet's pooling compute what is used of it; other image towers stay as they are."""
    for module in clip.modules():
        if type(module) is AttentionPool2d:
            module.__class__ = MeanPool
