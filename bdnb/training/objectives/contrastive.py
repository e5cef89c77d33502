"""The paper's objectives and their parts: MMCL, SSL, both; SigLIP; other self-supervision."""

from torch import Tensor

from bdnb import losses
from bdnb.config.options import Positive
from bdnb.training.objectives.registry import Embedded, objective


@objective("mmcl")
def mmcl(batch: Embedded) -> dict[str, Tensor]:
    """Equation 1: image against caption."""
    return {"mmcl": losses.mmcl(batch.image, batch.text, batch.scale)}


@objective("ssl", second_views=True)
def ssl(batch: Embedded) -> dict[str, Tensor]:
    """Equation 2: each modality against its own second views."""
    views = (batch.image, batch.image_view, batch.text, batch.text_view)
    return {"ssl": losses.ssl(*views, batch.scale)}


@objective("mmcl_ssl", second_views=True)
def mmcl_ssl(batch: Embedded) -> dict[str, Tensor]:
    """The paper's stronger objective: both."""
    return mmcl(batch) | ssl(batch)


@objective("mmcl_ssl_image", second_views=True)
def mmcl_ssl_image(batch: Embedded) -> dict[str, Tensor]:
    """MMCL and the image half of SSL, whole: ssl_weight=0.5 is its share in ``mmcl_ssl``."""
    return mmcl(batch) | {"ssl_image": losses.info_nce(batch.image, batch.image_view, batch.scale)}


@objective("mmcl_ssl_text", second_views=True)
def mmcl_ssl_text(batch: Embedded) -> dict[str, Tensor]:
    """MMCL and the text half of SSL, whole: ssl_weight=0.5 is its share in ``mmcl_ssl``."""
    return mmcl(batch) | {"ssl_text": losses.info_nce(batch.text, batch.text_view, batch.scale)}


@objective("mmcl_barlow", second_views=True)
def mmcl_barlow(batch: Embedded, *, off_diagonal: Positive = 5e-3) -> dict[str, Tensor]:
    """MMCL and Barlow Twins on two views of the image: self-supervision without contrast.

    On the embeddings themselves, without a projector, as SSL here: so the loss of a model that was
    trained with it can be compared with that of one that was not.
    """
    term = losses.barlow_twins(batch.image, batch.image_view, off_diagonal=off_diagonal)
    return mmcl(batch) | {"barlow": term}


@objective("siglip", bias=True)
def siglip(batch: Embedded) -> dict[str, Tensor]:
    """SigLIP's pairwise sigmoid loss (Zhai et al., 2023)."""
    return {"siglip": losses.siglip(batch.image, batch.text, batch.scale, batch.bias)}
