"""What every benchmark keeps to, whoever adds it."""

import re

import pytest

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import BENCHMARKS, IGNORE, Benchmark, Sample, SplitFound, check, missing
from geoseg.legend import Legend

NAMES = list(BENCHMARKS)
ADDRESS = r"(https?|s3|gs)://[a-z]"


@pytest.fixture(params=NAMES)
def benchmark(request):
    return BENCHMARKS[request.param]


def test_there_are_some_and_each_has_its_own_title():
    assert len(NAMES) >= 9
    titles = [BENCHMARKS[name].title for name in NAMES]
    assert len(set(titles)) == len(titles)


def test_it_is_described(benchmark):
    assert re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", benchmark.name)
    assert BENCHMARKS[benchmark.name] is benchmark
    assert re.search(ADDRESS, benchmark.home)
    for text in (benchmark.title, benchmark.license, benchmark.layout, benchmark.source):
        assert text == text.strip() != ""
    assert benchmark.gsd_m is None or benchmark.gsd_m > 0
    assert all(re.fullmatch(r"[a-z0-9_]+", band) for band in benchmark.bands)
    assert len(set(benchmark.bands)) == len(benchmark.bands)  # models find theirs by name


def test_classes_are_numbered_as_reported(benchmark):
    values = benchmark.legend.values
    assert values == tuple(range(len(values)))
    assert len(values) < IGNORE


def test_splits_are_named_and_their_sizes_belong_to_them(benchmark):
    assert benchmark.splits
    assert len(set(benchmark.splits)) == len(benchmark.splits)
    assert set(benchmark.n_samples) <= set(benchmark.splits)
    assert all(n > 0 for n in benchmark.n_samples.values())


def test_an_empty_folder_is_refused_in_one_line_with_where_to_get_it(benchmark, tmp_path):
    for split in benchmark.splits:
        with pytest.raises(EvaluationError) as refused:
            benchmark.samples(tmp_path, split)
        message = str(refused.value)
        assert str(tmp_path) in message
        assert re.search(rf"Get it from .*{ADDRESS}", message)
        assert "\n" not in message
    assert all(not split.is_complete for split in check(benchmark, tmp_path))


def test_a_folder_or_split_that_is_not_there_is_refused(benchmark, tmp_path):
    with pytest.raises(EvaluationError, match=rf"There is no folder .*{ADDRESS}"):
        benchmark.samples(tmp_path / "absent")
    with pytest.raises(EvaluationError, match=f"has no split 'none-such': give {benchmark.splits[0]}"):
        benchmark.samples(tmp_path, "none-such")


def made(find, *, n_samples):
    return Benchmark(
        name="made", title="Made", legend=Legend.of(a="000000"), bands=("red",), splits=("val",),
        home="https://example.org", license="none", layout="*.png", find=find, source="here", n_samples=n_samples,
    )  # fmt: skip


def samples(n, read_labels):
    return [Sample(id=str(i), place="", read_image=list, read_labels=read_labels) for i in range(n)]


@pytest.mark.parametrize(
    ("there", "published", "complete"), [(3, {"val": 3}, True), (2, {"val": 3}, False), (2, {}, True)]
)
def test_a_split_is_complete_when_all_that_was_published_is_there(tmp_path, there, published, complete):
    benchmark = made(lambda root, split: samples(there, list), n_samples=published)
    (found,) = check(benchmark, tmp_path)
    assert (found.n_images, found.n_labels, found.n_expected) == (there, there, published.get("val"))
    assert found.is_complete is complete
    assert ("holds 2 of the 3 images" in found.missing) is not complete


def test_held_back_labels_are_not_counted(tmp_path):
    (found,) = check(made(lambda root, split: samples(2, None), n_samples={}), tmp_path)
    assert found == SplitFound("val", 2, 0, None, "")


def test_what_is_there_of_a_split_that_lacks_a_part_is_counted(tmp_path):
    def find(root, split):
        raise missing(root, "b.png", "Made", "https://example.org", n_images=7, n_labels=6)

    (found,) = check(made(find, n_samples={"val": 7}), tmp_path)
    lacking = f"{tmp_path} lacks b.png of Made. Get it from https://example.org."
    assert found == SplitFound("val", 7, 6, 7, lacking)
