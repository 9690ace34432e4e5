"""What pycocotools says of a data set in COCO's JSON."""

import contextlib
import io
import json

import numpy as np
import pytest


def coco_stats(truth, results, *, use_categories=True, max_predictions=100):
    """AP, AP50, AP75, AR of pycocotools, and AP per class."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        api = coco.COCO()
        api.dataset = json.loads(json.dumps(truth))
        api.createIndex()
        evaluation = cocoeval.COCOeval(api, api.loadRes(json.loads(json.dumps(results))), "segm")
        evaluation.params.useCats = int(use_categories)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max_predictions]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][..., 0, 0], evaluation.eval["recall"][..., 0, 0]
    known = precision[0, 0] > -1
    per_class = np.where(known, precision.mean(axis=(0, 1)), np.nan)
    means = [p[..., known].mean() for p in (precision, precision[0], precision[5])]
    return [*means, recall[:, known].mean()], per_class
