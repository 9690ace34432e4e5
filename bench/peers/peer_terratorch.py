"""terratorch: ``tiled_inference`` on the whole image, as in its guide "Inference".

The guide's ``terratorch predict`` calls the same function after Lightning has loaded the image; calling it
here saves terratorch the time of Lightning and its data module. ``delta`` and ``padding`` are its defaults.
"""

import rasterio
import torch
from asked import load_network, read_command_line, write_classes
from terratorch.tasks.tiled_inference import tiled_inference

if __name__ == "__main__":
    asked = read_command_line()
    network = load_network(asked)
    with rasterio.open(asked.image) as source:
        image = torch.from_numpy(source.read())[None].float() / 255  # (1, band, y, x)
    with torch.inference_mode():
        logits = tiled_inference(
            network, image, crop=asked.tile, stride=asked.stride, batch_size=asked.batch_size
        )
    write_classes(asked, logits.argmax(1)[0].to(torch.uint8).numpy())
