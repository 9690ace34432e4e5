"""Losses against other people's code or their plain definition, and the laws that all of them keep.

Where segmentation_models_pytorch (smp) computes something else, it is used on what both have in common: its
SoftCrossEntropyLoss and FocalLoss divide by ignored pixels too (so they get the labelled ones only), its
FocalLoss is a sum of binary ones (so its softmax_focal_loss_with_logits is used), its Dice and Tversky count
absent classes as 0 in the mean (so they get the classes present), and its focal Tversky takes the power of the
mean over classes in place of the mean of powers (so it is asked class by class).
"""

import itertools
import math
import tomllib

import numpy as np
import pytest
import scipy.ndimage
import segmentation_models_pytorch.losses as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses._functional import softmax_focal_loss_with_logits
from segmentation_models_pytorch.losses.lovasz import _lovasz_softmax
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F  # noqa: N812
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_jaccard_index

from geoseg.errors import TrainingError
from geoseg.evaluation.benchmark import IGNORE
from geoseg.training.losses import LOSSES, DeepSupervision, LossTerm, build_loss, nearest_labels

N_CLASSES = 4
SHARES = (0.55, 0.3, 0.1, 0.05)
TERMS = [
    LossTerm(name="cross-entropy"),
    LossTerm(name="weighted-cross-entropy", power=0.5),
    LossTerm(name="class-balanced", n_samples=100, beta=0.99),
    LossTerm(name="focal", gamma=2.0),
    LossTerm(name="focal", gamma=0.5),
    LossTerm(name="dice"),
    LossTerm(name="dice", per_image=True),
    LossTerm(name="tversky"),
    LossTerm(name="tversky", gamma=4 / 3, per_image=True),
    LossTerm(name="lovasz"),
    LossTerm(name="lovasz", classes="all"),
    LossTerm(name="lovasz", per_image=True),
    LossTerm(name="boundary"),
    LossTerm(name="bootstrapped"),
    LossTerm(name="bootstrapped", mode="hard", beta=0.8),
    LossTerm(name="evidential"),
    LossTerm(name="evidential", risk="likelihood", kl_weight=0.3),
]
SMOOTHED = LossTerm(name="cross-entropy", label_smoothing=0.1)
every_loss = pytest.mark.parametrize("term", TERMS, ids=lambda term: "-".join(map(str, dict(term).values())))


def batch(seed=0, shape=(2, N_CLASSES, 7, 6), *, ignored=0.2, absent=None, dtype=torch.float64):
    """Random logits and labels in patches, so that classes have outlines."""
    rng = np.random.default_rng(seed)
    n, n_classes, height, width = shape
    coarse = rng.integers(0, n_classes, (n, -(-height // 3), -(-width // 3)))
    labels = coarse.repeat(3, 1).repeat(3, 2)[:, :height, :width]
    if absent is not None:
        labels[labels == absent] = (absent + 1) % n_classes
    labels[rng.random(labels.shape) < ignored] = IGNORE
    return torch.tensor(rng.normal(0, 2, shape), dtype=dtype), torch.tensor(labels)


def loss_of(term, *, shares=SHARES):
    return build_loss([term], n_classes=len(shares), class_shares=shares)


def valid(logits, labels):
    keep = labels != IGNORE
    return logits.movedim(1, -1)[keep], labels[keep]


def close(value, expected, rel=1e-9):
    assert value.item() == pytest.approx(float(expected), rel=rel, abs=1e-12)


def test_each_registered_loss_is_tested():
    assert {term.name for term in TERMS} == set(LOSSES)


# Against references


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_torch_and_smp(smoothing):
    logits, labels = batch()
    got = loss_of(LossTerm(name="cross-entropy", label_smoothing=smoothing))(logits, labels)
    close(got, F.cross_entropy(logits, labels, ignore_index=IGNORE, label_smoothing=smoothing))
    scores, classes = valid(logits, labels)
    close(got, smp.SoftCrossEntropyLoss(smooth_factor=smoothing)(scores, classes))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_cross_entropy_is_that_of_torch(smoothing):
    logits, labels = batch(1)
    weights = [0.5, 3.0, 0.0, 1.0]
    given_weights = LossTerm(name="weighted-cross-entropy", weights=weights, label_smoothing=smoothing)
    expected = F.cross_entropy(
        logits, labels, torch.tensor(weights).double(), ignore_index=IGNORE, label_smoothing=smoothing
    )
    close(loss_of(given_weights)(logits, labels), expected)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_weights_follow_from_shares(power):
    logits, labels = batch(2)
    got = loss_of(LossTerm(name="weighted-cross-entropy", power=power))(logits, labels)
    pixels = loss_of(LossTerm(name="weighted-cross-entropy", power=power), shares=[s * 977 for s in SHARES])
    close(pixels(logits, labels), got)
    scores, classes = (array.numpy() for array in valid(logits, labels))
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    weights = (1 / np.array(SHARES)) ** power
    close(got, np.average(-log_p[np.arange(len(classes)), classes], weights=weights[classes]))


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_class_balanced_is_its_definition(beta):
    logits, labels = batch(3)
    got = loss_of(LossTerm(name="class-balanced", beta=beta, n_samples=400))(logits, labels)
    effective = np.array([sum(beta**k for k in range(round(share * 400))) for share in SHARES])
    weights = 1 / effective / np.mean(1 / effective)
    log_p = logits.log_softmax(1).numpy()
    places = np.argwhere(labels.numpy() != IGNORE)
    each = [-weights[labels[n, y, x]] * log_p[n, labels[n, y, x], y, x] for n, y, x in places]
    close(got, np.mean(each), rel=1e-7)


def test_classes_without_training_pixels_weigh_nothing():
    logits, labels = batch(4, absent=2)
    for name in ("weighted-cross-entropy", "class-balanced"):
        loss = loss_of(LossTerm(name=name), shares=(0.5, 0.3, 0.0, 0.2))
        without = logits.clone()[:, [0, 1, 3]]
        (only_absent,) = torch.autograd.grad(
            loss(logits.requires_grad_(), torch.full_like(labels, 2)), logits
        )
        assert not only_absent.any()
        reduced = loss_of(LossTerm(name=name), shares=(0.5, 0.3, 0.2))
        hidden = logits.detach().clone()
        hidden[:, 2] = -1e4
        relabelled = torch.where(labels == 3, 2, labels)
        close(loss(hidden, labels), reduced(without.detach(), relabelled))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_is_that_of_smp(gamma):
    logits, labels = batch(5)
    got = loss_of(LossTerm(name="focal", gamma=gamma))(logits, labels)
    close(got, softmax_focal_loss_with_logits(*valid(logits, labels), gamma=gamma))
    alpha = torch.tensor([0.1, 2.0, 1.0, 0.0]).double()
    weighed = loss_of(LossTerm(name="focal", gamma=gamma, alpha=alpha.tolist()))(logits, labels)
    scores, classes = valid(logits, labels)
    each = softmax_focal_loss_with_logits(scores, classes, gamma=gamma, reduction="none")
    close(weighed, (alpha[classes] * each).mean())


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("absent", [None, 0])
def test_dice_is_that_of_smp(smooth, absent):
    logits, labels = batch(6, absent=absent)
    present = [c for c in range(N_CLASSES) if c != absent]
    theirs = smp.DiceLoss("multiclass", classes=present, smooth=smooth, ignore_index=IGNORE)
    got = loss_of(LossTerm(name="dice", smooth=smooth))(logits, labels)
    close(got, theirs(logits, labels))


@pytest.mark.parametrize("gamma", [1.0, 4 / 3, 3.0])
def test_tversky_is_that_of_smp(gamma):
    logits, labels = batch(7, absent=1)
    options = {"alpha": 0.2, "beta": 0.9, "smooth": 0.5}
    by_class = [
        smp.TverskyLoss("multiclass", classes=[c], ignore_index=IGNORE, gamma=1 / gamma, **options)
        for c in (0, 2, 3)
    ]
    got = loss_of(LossTerm(name="tversky", gamma=gamma, **options))(logits, labels)
    close(got, np.mean([theirs(logits, labels).item() for theirs in by_class]))


@pytest.mark.parametrize("classes", ["present", "all"])
@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_is_that_of_its_author(classes, per_image):
    logits, labels = batch(8, absent=3, dtype=torch.float32)  # theirs knows no float64
    got = loss_of(LossTerm(name="lovasz", classes=classes, per_image=per_image))(logits, labels)
    theirs = _lovasz_softmax(logits.softmax(1), labels, classes, per_image, IGNORE)
    close(got, theirs, rel=1e-5)
    if classes == "present":
        close(got, smp.LovaszLoss("multiclass", per_image, IGNORE)(logits, labels), rel=1e-5)


def test_lovasz_is_the_extension_of_the_jaccard_loss():
    """The definition: errors in falling order, each times what its pixel adds to the loss of those before."""
    logits, labels = batch(9, (1, 3, 3, 4))
    scores, classes = valid(logits, labels)
    probs, classes = scores.softmax(1).numpy(), classes.numpy()
    losses = []
    for c in np.unique(classes):
        errors = np.abs((classes == c) - probs[:, c])
        total, before, wrong = 0.0, 0.0, set()
        for pixel in np.argsort(-errors):
            wrong.add(int(pixel))
            area = set(np.flatnonzero(classes == c).tolist())
            loss = len(wrong) / len(area | wrong)
            total, before = total + errors[pixel] * (loss - before), loss
        losses.append(total)
    close(loss_of(LossTerm(name="lovasz"), shares=(1, 1, 1))(logits, labels), np.mean(losses))


def test_of_certain_answers_lovasz_is_one_minus_iou_and_dice_one_minus_f1():
    logits, labels = batch(10)
    certain = F.one_hot(logits.argmax(1), N_CLASSES).movedim(-1, 1) * 1e3
    arguments = (certain.argmax(1), labels, N_CLASSES)
    options = {"average": "macro", "ignore_index": IGNORE}
    close(
        loss_of(LossTerm(name="lovasz"))(certain, labels),
        1 - multiclass_jaccard_index(*arguments, **options),
        1e-5,
    )
    close(
        loss_of(LossTerm(name="dice"))(certain, labels), 1 - multiclass_f1_score(*arguments, **options), 1e-5
    )


@pytest.mark.parametrize(("width", "tolerance"), [(3, 5), (5, 3)])
def test_boundary_is_its_definition(width, tolerance):
    logits, labels = batch(11, (2, N_CLASSES, 12, 11), ignored=0.05)
    got = loss_of(LossTerm(name="boundary", width=width, tolerance=tolerance))(logits, labels)
    probs, losses = logits.softmax(1).numpy(), []

    def outline(values, has_label):
        others = np.where(has_label, 1 - values, -np.inf)
        around = scipy.ndimage.maximum_filter(others, width, mode="constant", cval=-np.inf)
        return np.where(has_label, around - np.where(has_label, others, 0), 0)

    def widened(values):
        return scipy.ndimage.maximum_filter(values, tolerance, mode="constant", cval=0)

    for image, c in itertools.product(range(2), range(N_CLASSES)):
        truth = labels[image].numpy()
        wanted = outline((truth == c).astype(float), truth != IGNORE)
        found = outline(probs[image, c], truth != IGNORE)
        if wanted.any():
            precision = (found * widened(wanted)).sum() / found.sum()
            recall = (wanted * widened(found)).sum() / wanted.sum()
            losses.append(1 - 2 * precision * recall / (precision + recall))
    close(got, np.mean(losses), rel=1e-6)


def test_boundary_prefers_edges_in_their_place():
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    labels[:, :, 8:] = 1
    loss = loss_of(LossTerm(name="boundary", tolerance=3), shares=(1, 1))
    by_shift = [
        float(loss(20 * F.one_hot(labels.roll(shift, 2), 2).movedim(-1, 1)[..., :16].float(), labels))
        for shift in (0, 4)
    ]
    assert by_shift[0] < 1e-3 < 0.3 < by_shift[1]


@pytest.mark.parametrize(("mode", "beta"), [("soft", 0.95), ("soft", 0.3), ("hard", 0.8), ("hard", 1.0)])
def test_bootstrapped_is_cross_entropy_with_a_mixed_target(mode, beta):
    logits, labels = batch(12)
    got = loss_of(LossTerm(name="bootstrapped", mode=mode, beta=beta))(logits, labels)
    scores, classes = valid(logits, labels)
    own = scores.softmax(1) if mode == "soft" else F.one_hot(scores.argmax(1), N_CLASSES)
    truth = F.one_hot(classes, N_CLASSES).double()
    close(got, F.cross_entropy(scores, beta * truth + (1 - beta) * own))


@pytest.mark.parametrize("risk", ["mse", "likelihood"])
def test_evidential_is_what_the_dirichlet_distribution_says(risk):
    """Equation 5 is the expected squared error; equation 3 the likelihood of the label, -log of the mean."""
    logits, labels = batch(13)
    got = loss_of(LossTerm(name="evidential", risk=risk, kl_weight=0.4))(logits, labels)
    scores, classes = valid(logits, labels)
    truth = F.one_hot(classes, N_CLASSES).double()
    alpha = (1 + scores.exp()).log() + 1
    belief = Dirichlet(alpha)
    of_risk = {
        "mse": ((truth - belief.mean) ** 2 + belief.variance).sum(1),
        "likelihood": -belief.mean[torch.arange(len(classes)), classes].log(),
    }[risk]
    misleading = Dirichlet(torch.where(truth == 1, 1.0, alpha))
    close(got, (of_risk + 0.4 * kl_divergence(misleading, Dirichlet(torch.ones_like(alpha)))).mean(), 1e-7)


def test_the_divergence_grows_over_epochs():
    logits, labels = batch(14)
    term = LossTerm(name="evidential", annealing_epochs=8, kl_weight=0.5)
    whole, bare = (loss_of(t)(logits, labels) for t in (term, LossTerm(name="evidential", kl_weight=0)))
    loss = loss_of(term)
    for epoch, part in [(0, 0.0), (2, 0.25), (8, 1.0), (100, 1.0), (4, 0.5)]:
        loss.set_epoch(epoch)
        close(loss(logits, labels), bare + part * (whole - bare))


# Laws


@every_loss
def test_gradients_are_right(term):
    logits, labels = batch(15, (2, 3, 5, 4))
    loss = loss_of(term, shares=(0.6, 0.3, 0.1))
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits.requires_grad_())


@every_loss
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(N_CLASSES)))
def test_the_order_of_classes_does_not_matter(term, seed, order):
    logits, labels = batch(seed)
    renamed = torch.full((256,), IGNORE)
    renamed[torch.tensor(order)] = torch.arange(N_CLASSES)
    permuted = loss_of(term, shares=[SHARES[c] for c in order])(logits[:, order], renamed[labels])
    close(permuted, loss_of(term)(logits, labels))


@every_loss
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 100))
def test_ignored_pixels_change_nothing(term, seed, scale):
    logits, labels = batch(seed)
    loss, is_ignored = loss_of(term), (labels == IGNORE)[:, None].expand_as(logits)
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed), dtype=logits.dtype)
    other = torch.where(is_ignored, scale * noise, logits).requires_grad_()
    value = loss(other, labels)
    close(value, loss(logits, labels), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, other)
    assert not gradient[is_ignored].any()
    assert gradient[~is_ignored].any()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_without_labels_loss_and_gradient_are_0(term, dtype):
    logits, labels = batch(16, dtype=dtype)
    logits.requires_grad_()
    value = loss_of(term)(logits, torch.full_like(labels, IGNORE))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.shape == ()
    assert value == 0
    assert gradient.shape == logits.shape
    assert not gradient.any()


@every_loss
def test_images_without_labels_are_left_out(term):
    logits, labels = batch(17)
    close(
        loss_of(term)(torch.cat([logits, logits[:1]]), torch.cat([labels, torch.full_like(labels[:1], 255)])),
        loss_of(term)(logits, labels),
    )


@every_loss
def test_the_surer_of_the_truth_the_lower_down_to_0(term):
    _, labels = batch(18)
    truth = F.one_hot(labels.clamp_max(N_CLASSES - 1), N_CLASSES).movedim(-1, 1).double()
    # All that is wrong may still have its edges in the right place.
    sizes = (0, 2, 5, 1000) if term.name == "boundary" else (-1000, -2, 0, 2, 1000)
    values = [float(loss_of(term)(size * (2 * truth - 1), labels)) for size in sizes]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.1
    # Of evidence e the likelihood is e + 1 in e + 4.
    assert values[-1] == pytest.approx(0, abs=math.log(1004 / 1001) + 1e-4)


def test_smoothed_labels_want_their_own_probabilities():
    _, labels = batch(19)
    truth = F.one_hot(labels.clamp_max(N_CLASSES - 1), N_CLASSES).movedim(-1, 1).double()
    target = 0.9 * truth + 0.1 / N_CLASSES
    best, surer = (loss_of(SMOOTHED)(scores, labels) for scores in (target.log(), 50 * truth))
    close(best, -(target.log() * target).sum(1).mean())
    assert best < surer


@every_loss
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(term, size):
    logits, labels = batch(20, dtype=torch.float32)
    logits = (size * logits.sign()).requires_grad_()
    value = loss_of(term)(logits, labels)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()


@every_loss
def test_seeing_a_batch_twice_changes_nothing(term):
    logits, labels = batch(21)
    close(loss_of(term)(logits.repeat(2, 1, 1, 1), labels.repeat(2, 1, 1)), loss_of(term)(logits, labels))


@pytest.mark.parametrize(
    "term",
    [term for term in TERMS if dict(term).get("per_image", term.name not in ("dice", "tversky", "lovasz"))],
    ids=lambda term: term.name,
)
def test_a_batch_is_the_mean_of_its_images(term):
    """Of images with equally many labelled pixels and as many outlines; not for weights that are divided by."""
    if term.name == "weighted-cross-entropy":
        term = LossTerm(name="weighted-cross-entropy", weights=[2.0] * N_CLASSES)
    logits, labels = batch(22, ignored=0)
    labels[1] = (labels[0] + 1) % N_CLASSES
    labels[:, 2, 3:] = IGNORE
    single = [float(loss_of(term)(logits[i : i + 1], labels[i : i + 1])) for i in range(2)]
    assert single[0] != pytest.approx(single[1])
    close(loss_of(term)(logits, labels), np.mean(single))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(term, dtype):
    logits, labels = batch(23)
    half = logits.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = loss_of(term)(half, labels)
    assert value.dtype == torch.float32
    close(value, loss_of(term)(half.detach().float(), labels), rel=1e-6)
    assert torch.autograd.grad(value, half)[0].isfinite().all()


# Sums


RECIPE = """
[[loss]]
name = "cross-entropy"
label_smoothing = 0.05
[[loss]]
name = "dice"
weight = 0.5
[[loss]]
name = "dice"
weight = 2
per_image = true
"""


def test_a_sum_is_what_the_toml_says():
    logits, labels = batch(24)
    terms = [LossTerm(**table) for table in tomllib.loads(RECIPE)["loss"]]
    loss = build_loss(terms, n_classes=N_CLASSES)
    value = loss(logits.clone().requires_grad_(), labels)
    single = [build_loss([term], n_classes=N_CLASSES)(logits, labels) / term.weight for term in terms]
    close(value, single[0] + 0.5 * single[1] + 2 * single[2])
    assert list(loss.parts) == ["cross-entropy", "dice", "dice#2"]
    assert [float(part) for part in loss.parts.values()] == pytest.approx([float(part) for part in single])
    assert not any(part.requires_grad for part in loss.parts.values())
    assert not list(loss.parameters())
    assert not loss.state_dict()


def test_a_term_is_written_as_it_was_read():
    table = {"name": "tversky", "weight": 0.5, "alpha": 0.4}
    assert LossTerm(**table).model_dump() == table
    assert LossTerm.model_validate_json(LossTerm(**table).model_dump_json()) == LossTerm(**table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "focall"}, "No loss named 'focall': did you mean focal?"),
        ({"name": "focal", "gama": 2}, "[[loss]] focal: unknown option 'gama': did you mean gamma?"),
        ({"name": "focal", "wieght": 2}, "[[loss]] focal: unknown option 'wieght': did you mean weight?"),
        ({"name": "focal", "gamma": -1}, "[[loss]] focal: gamma = -1: expected 0 or more"),
        ({"name": "focal", "gamma": math.inf}, "[[loss]] focal: gamma = inf: expected a finite"),
        ({"name": "dice", "weight": 0}, "[[loss]] dice: weight = 0: expected more than 0"),
        ({"name": "boundary", "width": 4}, "[[loss]] boundary: width = 4: must be odd"),
        ({"name": "bootstrapped", "mode": "firm"}, "[[loss]] bootstrapped: mode = 'firm'"),
        ({"name": "tversky", "gamma": 0.75}, "[[loss]] tversky: gamma = 0.75"),
        ({"gamma": 1}, "[[loss]]: give name = one of bootstrapped, boundary,"),
        ({"name": 3}, "[[loss]]: name = 3: expected a text"),
    ],
)
def test_mistakes_in_a_table_are_named(table, message):
    with pytest.raises(TrainingError) as caught:
        LossTerm(**table)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("terms", "shares", "message"),
    [
        ([], None, "There is no loss"),
        ([{"name": "weighted-cross-entropy"}], None, "weighted-cross-entropy has no weights"),
        ([{"name": "weighted-cross-entropy", "weights": [1, 2]}], None, "2 values for 3 classes"),
        ([{"name": "class-balanced"}], None, "class-balanced has no shares"),
        ([{"name": "class-balanced", "class_shares": [1, 1]}], None, "2 values for 3 classes"),
        ([{"name": "focal", "alpha": [1]}], None, "1 values for 3 classes"),
        ([{"name": "dice"}], (0.5, 0.5), "2 values for 3 classes"),
        ([{"name": "dice"}], (0.5, math.nan, 0.5), "must be 0 or more"),
        ([{"name": "dice"}], (0, 0, 0), "must be 0 or more"),
    ],
)
def test_options_must_fit_the_classes(terms, shares, message):
    with pytest.raises(TrainingError, match=message):
        build_loss([LossTerm(**table) for table in terms], n_classes=3, class_shares=shares)


def test_own_shares_come_before_those_of_the_data():
    logits, labels = batch(25)
    own = LossTerm(name="class-balanced", class_shares=SHARES)
    close(
        loss_of(own, shares=(1, 1, 1, 1))(logits, labels),
        loss_of(LossTerm(name="class-balanced"))(logits, labels),
    )


# Several scales


def test_coarser_outputs_count_half_as_much_each():
    logits, labels = batch(26, (2, N_CLASSES, 8, 12))
    scales = [logits, logits[..., ::2, ::2], logits[..., ::4, ::4]]
    loss = build_loss([LossTerm(name="cross-entropy")], n_classes=N_CLASSES)
    several = DeepSupervision(loss)
    values = [
        F.cross_entropy(scale, labels[:, k // 2 :: k, k // 2 :: k], ignore_index=IGNORE)
        for k, scale in zip((1, 2, 4), scales, strict=True)
    ]
    close(several(scales, labels), (4 * values[0] + 2 * values[1] + values[2]) / 7)
    close(several.parts["cross-entropy"], values[0])
    close(several([logits], labels), loss(logits, labels))
    close(several(logits, labels), loss(logits, labels))


def test_scales_know_the_epoch():
    logits, labels = batch(27)
    several = DeepSupervision(loss_of(LossTerm(name="evidential")))
    several.set_epoch(0)
    close(several([logits], labels), loss_of(LossTerm(name="evidential", kl_weight=0))(logits, labels))


@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_labels_of_another_size_are_torch_s_nearest(shape):
    _, labels = batch(28)
    expected = F.interpolate(labels[:, None].double(), shape, mode="nearest-exact")[:, 0]
    assert torch.equal(nearest_labels(labels, shape).double(), expected)
