"""torch layer by layer, with batch norms folded into convolutions."""

import copy

import torch
from torch import nn

from geoseg.inference.backends import EAGER, Network, Work, register_backend
from geoseg.models.folding import folded
from geoseg.models.zoo import Model


@register_backend(EAGER, why_not=lambda _: None, precisions=("float32", "bf16"), prepare_s=0)
def torch_eager(model: Model, work: Work) -> Network:
    """Folded weights, in ``channels_last``; bf16 casts weights and pixels, not the logits of members."""
    module = module_for(model, work)
    if work.precision == "float32":
        return module
    return lambda batch: module(batch.bfloat16()).float()


def module_for(model: Model, work: Work) -> nn.Module:
    """The folded network on its device, in float32 or bf16; the model keeps its own."""
    module = folded(model)
    if work.precision == "float32" and all(p.device == work.device for p in module.parameters()):
        return module
    module = copy.deepcopy(module) if module is model.module else module
    return module.to(work.device, torch.bfloat16 if work.precision == "bf16" else torch.float32)
