"""geoai: ``semantic_segmentation``, as in its notebooks; it writes the map itself."""

import geoai
from asked import read_command_line

if __name__ == "__main__":
    asked = read_command_line()
    geoai.semantic_segmentation(
        input_path=str(asked.image),
        output_path=str(asked.out),
        model_path=str(asked.weights.with_suffix(".pth")),
        architecture="unet",
        encoder_name=asked.encoder,
        num_channels=asked.n_bands,
        num_classes=asked.n_classes,
        window_size=asked.tile,
        overlap=asked.overlap,
        batch_size=asked.batch_size,
    )
