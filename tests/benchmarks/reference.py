"""Plain CLIP code to measure against, written for the purpose and for nothing else.

(a) In the manner of the authors' code: fp32, 77 tokens, one PIL image at a time, AutoAugment on
the image at full size, images decoded again every epoch and every evaluation, one class at a time
in the zero-shot head. (b) open_clip's own step, head and preprocessing on the same model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler
from torchvision import transforms

from bdnb.data.augment.eda import TextViews
from bdnb.poison.triggers import Stamp

ImageView = Callable[[Image.Image, int, str], Image.Image]


def autoaugment(image: Image.Image, epoch: int, key: str) -> Image.Image:
    """torchvision's AutoAugment (ImageNet policy) on one image."""
    return AUTOAUGMENT(image)


AUTOAUGMENT = transforms.AutoAugment()


@dataclass(frozen=True)
class Files:
    """A set as files, one a sample: image paths, captions or labels, keys."""

    paths: list[Path]
    texts: list[str]
    keys: list[str]


def to_tensor(side: int) -> Callable[[Image.Image], Tensor]:
    """CLIP's preprocessing of one image."""
    return transforms.Compose(
        [
            transforms.Resize(side, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
        ]
    )


class Pairs(torch.utils.data.Dataset):
    """Image-caption pairs, one at a time; tokens of the captions made when it is opened."""

    def __init__(
        self,
        files: Files,
        side: int,
        tokenizer: Callable[[list[str]], Tensor],
        *,
        text_views: TextViews | None = None,
        image_view: ImageView = autoaugment,
    ) -> None:
        self.files, self.tokenizer = files, tokenizer
        self.transform = to_tensor(side)
        self.text_views, self.image_view = text_views, image_view
        self.tokens = tokenizer(files.texts)
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.files.paths)

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        image = Image.open(self.files.paths[i]).convert("RGB")
        sample = (self.transform(image), self.tokens[i])
        if self.text_views is None:
            return sample
        key = self.files.keys[i]
        view = self.image_view(image, self.epoch, key)
        caption = self.text_views([self.files.texts[i]], self.epoch, [key])
        return *sample, self.transform(view), self.tokenizer(caption)[0]


def batches(pairs: Pairs, order: Sequence[int], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (n, 3, H, W) and tokens (n, 77), with second views behind; n = B or 2B."""
    loader = torch.utils.data.DataLoader(pairs, batch_size=batch_size, sampler=order)
    for images, tokens, *views in loader:
        if views:
            images, tokens = torch.cat([images, views[0]]), torch.cat([tokens, views[1]])
        yield images, tokens


class Authors:
    """A model of open_clip's, trained and measured one plain step after the other."""

    def __init__(self, clip: nn.Module, *, ssl: bool, lr: float, device: torch.device) -> None:
        self.clip, self.ssl, self.device = clip.to(device), ssl, device
        decayed = [p for p in clip.parameters() if p.ndim >= 2]
        others = [p for p in clip.parameters() if p.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": 0.1},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = AdamW(groups, lr=lr)
        self.schedule: LRScheduler | None = None

    def features(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features of both."""
        image = self.clip.encode_image(images.to(self.device))
        text = self.clip.encode_text(tokens.to(self.device))
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """MMCL, plus SSL where there are second views (Equations 1 and 2)."""
        scale = self.clip.logit_scale.exp()
        if not self.ssl:
            return cross(scale * image @ text.T)
        (image, image_view), (text, text_view) = image.chunk(2), text.chunk(2)
        ssl = one_way(scale * image @ image_view.T) + one_way(scale * text @ text_view.T)
        return cross(scale * image @ text.T) + ssl / 2

    def step(self, images: Tensor, tokens: Tensor) -> float:
        """One step; its loss."""
        self.clip.train()
        self.optimizer.zero_grad()
        loss = self.loss(*self.features(images, tokens))
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        with torch.no_grad():
            self.clip.logit_scale.clamp_(0, 4.6052)
        return float(loss.item())

    def epoch(self, pairs: Pairs, order: Sequence[int], batch_size: int) -> float:
        """One pass over the pairs; the mean loss."""
        found = [self.step(*batch) for batch in batches(pairs, order, batch_size)]
        return sum(found) / len(found)


def one_way(logits: Tensor) -> Tensor:
    """Cross-entropy, the positives on the diagonal."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def cross(logits: Tensor) -> Tensor:
    """InfoNCE both ways."""
    return (one_way(logits) + one_way(logits.T)) / 2


class OpenClip(Authors):
    """open_clip's loss, on its own model as it comes."""

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """``ClipLoss``; for second views, which open_clip has none of, not defined."""
        return ClipLoss()(image, text, self.clip.logit_scale.exp())


class OpenClipAmp(OpenClip):
    """The same in bf16 by autocast, as open_clip's ``--precision amp_bf16`` trains."""

    def features(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features of both."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return super().features(images, tokens)


def authors_head(clip: nn.Module, tokenizer: Callable, prompts: list[list[str]]) -> Tensor:
    """Class embeddings (C, D), one class at a time; prompts: those of each class."""
    device = clip.logit_scale.device
    rows = []
    for own in prompts:
        features = F.normalize(clip.encode_text(tokenizer(own).to(device)), dim=-1)
        rows.append(F.normalize(features.mean(dim=0), dim=-1))
    return torch.stack(rows)


def open_clip_head(clip: nn.Module, tokenizer: Callable, prompts: list[list[str]]) -> Tensor:
    """Class embeddings (C, D) by open_clip's ``build_zero_shot_classifier``."""
    names = [str(i) for i in range(len(prompts))]
    templates = [lambda name, k=k: prompts[int(name)][k] for k in range(len(prompts[0]))]
    device = clip.logit_scale.device
    head = open_clip.build_zero_shot_classifier(clip, tokenizer, names, templates, device=device)
    return head.T


def predictions(
    clip: nn.Module, head: Tensor, files: Files, side: int, *, stamp: Stamp | None, batch: int = 64
) -> np.ndarray:
    """The class of each image, decoded, preprocessed and triggered one at a time; (N,) int64."""
    device, transform = clip.logit_scale.device, to_tensor(side)
    found = []
    for start in range(0, len(files.paths), batch):
        part = slice(start, start + batch)
        images = []
        for path, key in zip(files.paths[part], files.keys[part], strict=True):
            image = Image.open(path).convert("RGB")
            images.append(transform(image if stamp is None else triggered(image, stamp, key, side)))
        features = F.normalize(clip.encode_image(torch.stack(images).to(device)), dim=-1)
        found.append((features @ head.T).argmax(dim=1).cpu())
    return torch.cat(found).numpy()


def triggered(image: Image.Image, stamp: Stamp, key: str, side: int) -> Image.Image:
    """One image at the model's size, with the trigger."""
    pixels = torch.from_numpy(np.array(image.resize((side, side)))).permute(2, 0, 1)
    return Image.fromarray(stamp(pixels, key).permute(1, 2, 0).numpy())


def evaluate(
    clip: nn.Module,
    tokenizer: Callable,
    prompts: list[list[str]],
    sets: Sequence[Files],
    side: int,
    *,
    stamp: Stamp,
    stamp_prefix: str,
    target: int,
    head: Callable = authors_head,
) -> dict[str, float]:
    """Accuracy on each set and ASR on the first, in percent."""
    clip.eval()
    values = {}
    with torch.no_grad():
        classes = head(clip, tokenizer, prompts)
        for place, files in enumerate(sets):
            labels = np.array([int(text) for text in files.texts])
            found = predictions(clip, classes, files, side, stamp=None)
            name = "unseen_accuracy" if place else "accuracy"
            values[name] = 100 * float((found == labels).mean())
        first = sets[0]
        keyed = Files(first.paths, first.texts, [stamp_prefix + key for key in first.keys])
        labels = np.array([int(text) for text in first.texts])
        found = predictions(clip, classes, keyed, side, stamp=stamp)
        values["asr"] = 100 * float((found[labels != target] == target).mean())
    return values
