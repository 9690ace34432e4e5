"""Raster Vision: sliding windows, a Learner with an external model, smooth labels.

As in its tutorial "Prediction and Evaluation" (usage/tutorials/pred_and_eval_ss); it writes the map itself.
"""

import shutil
import tempfile
from pathlib import Path

from asked import Asked, load_network, read_command_line
from rastervision.core.data import ClassConfig, SemanticSegmentationLabels
from rastervision.pytorch_learner import (
    SemanticSegmentationGeoDataConfig,
    SemanticSegmentationLearner,
    SemanticSegmentationLearnerConfig,
    SemanticSegmentationSlidingWindowGeoDataset,
    SolverConfig,
)


def _predict(asked: Asked, folder: str) -> None:
    names = [f"class_{i}" for i in range(asked.n_classes)]
    # It insists on a class for pixels without any prediction. There are none, so no further class is made up.
    classes = ClassConfig(names=names, null_class=names[0])
    dataset = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
        class_config=classes,
        image_uri=str(asked.image),
        size=asked.tile,
        stride=asked.stride,
        image_raster_source_kw={"allow_streaming": True},
    )
    data = SemanticSegmentationGeoDataConfig(class_config=classes, num_workers=0)
    config = SemanticSegmentationLearnerConfig(data=data, solver=SolverConfig(batch_sz=asked.batch_size))
    learner = SemanticSegmentationLearner(config, model=load_network(asked), training=False)
    predictions = learner.predict_dataset(
        dataset, raw_out=True, numpy_out=True, predict_kw={"out_shape": (asked.tile, asked.tile)}
    )
    labels = SemanticSegmentationLabels.from_predictions(
        dataset.windows,
        predictions,
        extent=dataset.scene.extent,
        num_classes=asked.n_classes,
        smooth=True,
    )
    labels.save(
        folder,
        crs_transformer=dataset.scene.raster_source.crs_transformer,
        class_config=classes,
        discrete_output=True,
        smooth_output=False,
    )


if __name__ == "__main__":
    asked = read_command_line()
    with tempfile.TemporaryDirectory() as folder:
        _predict(asked, folder)
        shutil.copy(Path(folder) / "labels.tif", asked.out)
