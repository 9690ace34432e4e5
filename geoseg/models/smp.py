"""U-Net and DeepLabV3+ with any number of bands and any encoder of segmentation-models-pytorch."""

from torch import nn

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
from geoseg.models.zoo import register_family
from geoseg.registry import did_you_mean


@register_family("unet")
def unet(card: ModelCard) -> nn.Module:
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) on the encoder that the card names."""
    return _build("unet", card)


@register_family("deeplabv3plus")
def deeplabv3plus(card: ModelCard) -> nn.Module:
    """DeepLabV3+ (Chen et al. 2018, arXiv:1802.02611) on the encoder that the card names."""
    return _build("deeplabv3plus", card)


def _build(arch: str, card: ModelCard) -> nn.Module:
    # Imported here because timm and torchvision take seconds and the rule model needs neither.
    import segmentation_models_pytorch as smp

    options = {"encoder_name": "resnet34", **card.hyperparameters}
    encoder = str(options["encoder_name"])
    if encoder not in smp.encoders.encoders and not encoder.startswith("tu-"):
        known = list(smp.encoders.get_encoder_names())
        raise ModelError(f"{card.name}: no encoder named {encoder!r}: {did_you_mean(encoder, known)}")
    module: nn.Module = smp.create_model(
        arch,
        **options,
        encoder_weights=None,
        in_channels=len(card.bands),
        classes=len(card.legend.classes),
    )
    return module
