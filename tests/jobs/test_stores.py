"""Parts and maps in object stores: the bytes of those on disk, whatever breaks off, and nothing else is touched."""

import http.server
import json
import threading
from types import SimpleNamespace

import pytest
from builders import Said, geobox_at, smooth, write_image
from lanes.services import rasters

from geoseg.errors import OutputError, RecipeError, StoreError
from geoseg.files import sha256_of
from geoseg.jobs import arrivals as arrivals_module
from geoseg.jobs import cluster, making, tries
from geoseg.jobs import run as run_module
from geoseg.jobs import store as store_module
from geoseg.jobs.arrivals import arrivals
from geoseg.jobs.blocks import BlockDone
from geoseg.jobs.folders import local_folder, place_of, where
from geoseg.jobs.remote import RemoteFolder
from geoseg.jobs.run import run
from geoseg.jobs.store import Store, connect, leave_probe, take_probe
from geoseg.jobs.workspace import MANIFEST, workspace
from geoseg.recipe import Recipe

PART = "[0-9]*-*.tif"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    image = write_image(folder / "scene.tif", smooth(0, (150, 150)), geobox_at(height=150, width=150))
    return {"image": (str(image),), "model": "spectral-rules", "block_size": 64}


@pytest.fixture(scope="module")
def whole(scene, tmp_path_factory):
    return run(Recipe(**scene, out=str(tmp_path_factory.mktemp("whole") / "map"))).out


@pytest.fixture
def made(monkeypatch):
    """Indices of the blocks that were made, those of the seam score left out."""
    real, found = cluster.run_block, []

    def run_block(task):
        if task.parts.name == "parts":
            found.append(task.block.index)
        return real(task)

    monkeypatch.setattr(cluster, "run_block", run_block)
    return found


def broken_at(monkeypatch, n):
    """A run that ends, as by a power cut, when ``n`` blocks are noted."""
    real, calls = run_module.Journal.note, []

    def note(self, fingerprint, done):
        calls.append(fingerprint)
        if len(calls) > n:
            raise RuntimeError("the power went")
        real(self, fingerprint, done)

    monkeypatch.setattr(run_module.Journal, "note", note)


def broken(recipe, monkeypatch, *, n=4):
    with monkeypatch.context() as patch:
        broken_at(patch, n)
        with pytest.raises(RuntimeError):
            run(recipe)


def objects(folder):
    """The names of all that is there."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- maps at addresses -------------------------------------------------------------------------------


def test_a_map_at_an_address_is_that_on_disk_and_made_once(scene, whole, bucket, tmp_path, made):
    recipe = Recipe(**scene, out="s3://bucket/maps/one")
    result = run(recipe)
    out = bucket / "maps" / "one"
    assert result.where == "s3://bucket/maps/one"
    assert rasters(out) == rasters(whole)
    assert objects(bucket.parent) == {f"bucket/maps/one/{name}" for name in objects(whole)}
    assert not objects(tmp_path / "cache")
    assert json.loads((out / "item.json").read_text())["id"] == "one"
    assert len(made) == 9

    with pytest.raises(OutputError, match=r"s3://bucket/maps/one exists already\. Give --overwrite"):
        run(recipe)
    before, said = {name: (out / name).stat().st_mtime_ns for name in objects(out)}, Said()
    made.clear()
    run(recipe.model_copy(update={"resume": True}), listener=said)
    assert any(line.startswith("s3://bucket/maps/one/ holds this map already") for line in said.lines)
    assert {name: (out / name).stat().st_mtime_ns for name in objects(out)} == before


@pytest.mark.lane
def test_a_map_at_an_address_gives_its_blocks_to_the_next_one(scene, whole, bucket, made):
    recipe, out = Recipe(**scene, out="s3://bucket/maps/one"), bucket / "maps" / "one"
    run(recipe)
    made.clear()
    (out / "class.tif.ovr").write_text("QGIS was here")
    other = recipe.model_copy(update={"resume": True, "min_area_ha": 1.0})
    run(other)
    assert not made, "blocks that stand are cut out of the rasters in the store"
    assert rasters(out) == rasters(whole)
    assert objects(bucket) == {f"maps/one/{name}" for name in objects(whole)}
    (out / "class.tif").write_bytes(b"cut short")
    run(other)
    assert len(made) == 9
    assert rasters(out) == rasters(whole)


@pytest.mark.parametrize("content", ["", '{"name": "web app", "files": {"a": 1}}', None])
def test_objects_of_others_are_not_replaced(scene, bucket, content, monkeypatch):
    place = bucket / "map"
    place.mkdir(parents=True)
    (place / "index.html").write_text("a month of work")
    if content is not None:
        (place / MANIFEST).write_text(content)
    before = objects(place)
    monkeypatch.setattr(making, "compute", lambda *_: pytest.fail("refused only after all was computed"))
    with pytest.raises(OutputError, match="holds objects that are not a geoseg map"):
        run(Recipe(**scene, out="s3://bucket/map", overwrite=True))
    assert objects(place) == before


OLD, NEW = {"class.tif": "old", "old/a.tif": "old"}, {"class.tif": "new", "new/b.tif": "new"}


def fill(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    hashes = {name: {"sha256": sha256_of(folder / name)} for name in files}
    (folder / MANIFEST).write_text(json.dumps({"geoseg": "1", "files": hashes}))


def is_whole_or_hidden(folder):
    """A reader sees the manifest of files that are all there, as it says, or none."""
    if not (folder / MANIFEST).exists():
        return True
    files = json.loads((folder / MANIFEST).read_text())["files"]
    return all(sha256_of(folder / name) == facts["sha256"] for name, facts in files.items())


@pytest.mark.parametrize("is_there", [True, False])
def test_no_manifest_without_its_files_wherever_it_breaks_off(is_there, bucket, tmp_path, monkeypatch):
    """Every request to the store may be the last one; the next run ends it, here or on another machine."""
    for n in range(40):
        place, target = bucket / str(n), tmp_path / "here" / str(n)
        if is_there:
            place.mkdir(parents=True)
            fill(place, OLD)
        goal, calls = RemoteFolder(f"s3://bucket/{n}"), []
        with monkeypatch.context() as patch:
            for name in ("put", "delete"):
                breaking(patch, name, calls, n, place)
            said = ""
            try:
                with workspace(target, overwrite=True, goal=goal) as folder:
                    fill(folder, NEW)
            except OutputError as error:
                said = str(error)
        assert not said or "--resume puts it there" in said
        assert is_whole_or_hidden(place)
        if n % 2:
            goal.check(overwrite=True)  # another machine may replace what is there
        with workspace(target, overwrite=True, goal=goal):
            pass  # a run that finds nothing to do
        assert objects(place) == {MANIFEST, *NEW}
        assert is_whole_or_hidden(place)
        assert not objects(target.parent)
        if not said:
            assert n >= 5
            return
    pytest.fail("it never ended")


def breaking(patch, name, calls, n, place):
    real = getattr(store_module.obstore, name)

    def request(*args, **options):
        assert is_whole_or_hidden(place)
        calls.append(name)
        if len(calls) > n:
            raise OSError("the network went")
        return real(*args, **options)

    patch.setattr(store_module.obstore, name, request)


# --- parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["s3://bucket/map", pytest.param("map", marks=pytest.mark.lane)])
def test_another_machine_goes_on_with_what_is_in_the_store(
    out, scene, whole, bucket, tmp_path, monkeypatch, made
):
    store = None if out.startswith("s3:") else "s3://bucket/scratch"
    recipe = Recipe(**scene, out=out, store=store)
    there = bucket / ("map/.parts" if store is None else "scratch")
    there.mkdir(parents=True)
    (there / "notes.txt").write_text("not of geoseg")
    monkeypatch.chdir(tmp_path)
    broken(recipe, monkeypatch)
    left = sorted(there.glob(PART))
    assert 4 <= len(left) <= 9
    assert {path.name for path in there.glob("*.tif.json")} == {f"{path.name}.json" for path in left}
    made.clear()
    left[0].write_bytes(left[0].read_bytes()[:100])  # cut short
    left[1].write_bytes(b"")
    note = there / f"{left[2].name}.json"
    note.write_text(note.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    (there / f"{left[3].name}.json").unlink()  # killed between part and note

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere" / "cache"))
    said = Said()
    result = run(recipe.model_copy(update={"resume": True}), listener=said)
    assert f"{len(left) - 4} of 9 blocks are there from a run before" in said.lines
    assert len(made) == 9 - (len(left) - 4)
    assert set(made) >= {int(path.name[:6]) for path in left[:4]}
    assert rasters(bucket / "map" if store is None else result.out) == rasters(whole)
    assert objects(there) == {"notes.txt"}


@pytest.mark.lane
def test_a_store_may_be_shared_and_each_map_takes_away_its_own(scene, whole, bucket, tmp_path, monkeypatch):
    shared = {**scene, "store": "s3://bucket/scratch"}
    broken(Recipe(**shared | {"block_size": 100}, out=str(tmp_path / "one")), monkeypatch, n=2)
    before = objects(bucket)
    run(Recipe(**shared, out=str(tmp_path / "two")))
    left = objects(bucket)
    assert left | {name for name in before if "engine" in name} == before
    run(Recipe(**shared | {"block_size": 100}, out=str(tmp_path / "one"), resume=True))
    assert not objects(bucket)
    assert rasters(tmp_path / "one") == rasters(tmp_path / "two") == rasters(whole)


@pytest.mark.lane
def test_a_part_that_does_not_arrive_whole_is_made_again(scene, whole, bucket, tmp_path, monkeypatch, made):
    real, spoilt = Store.put, []

    def put(self, name, content):
        real(self, name, content)
        if name.endswith(".tif") and len(spoilt) < 2:
            spoilt.append(name)
            real(self, name, b"other bytes")

    monkeypatch.setattr(Store, "put", put)
    out = run(Recipe(**scene, out=str(tmp_path / "map"), store="s3://bucket/p")).out
    assert rasters(out) == rasters(whole)
    assert len(made) == 9 + 2


@pytest.mark.lane
def test_parts_that_never_arrive_are_said_in_one_line(scene, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "fetch", lambda *_: False)
    recipe = Recipe(**scene, out=str(tmp_path / "map"), store="s3://bucket/p", tries=1)
    with pytest.raises(StoreError, match=r"All 9 blocks failed.* does not come back from s3://bucket/p"):
        run(recipe)


def test_fetching_holds_nothing_up_and_is_told_in_the_thread_of_the_caller(scene, monkeypatch):
    """While parts are fetched, several at once, blocks that end are taken; in the end all are told."""
    all_at_once = threading.Barrier(4, timeout=20)
    failed, told = tries.BlockFailed(4, RuntimeError("x")), []

    def fetched(task):
        all_at_once.wait()
        return object() if task.block.index != 2 else None

    monkeypatch.setattr(arrivals_module, "_fetched", fetched)
    tasks = [task_of(index) for index in range(5)]
    done = [BlockDone(index, "", 1, 1, 0, 0, 0, 0, 0, 0) for index in range(4)]
    with arrivals(tasks, lambda ended: told.append((ended, threading.current_thread()))) as note:
        note(failed)
        assert [ended for ended, _ in told] == [failed]
        for one in done:
            note(one)  # would wait for ever if the first were waited for
    assert {thread for _, thread in told} == {threading.main_thread()}
    ended = sorted((ended for ended, _ in told), key=lambda one: one.index)
    assert [*ended[:2], *ended[3:]] == [*done[:2], done[3], failed]
    assert isinstance(ended[2].error, StoreError)


def task_of(index):
    return SimpleNamespace(
        block=SimpleNamespace(index=index), store="file:///tmp/geoseg-none", part=f"{index}.tif"
    )


def test_a_worker_that_writes_elsewhere_is_found_out(bucket):
    name = leave_probe("s3://bucket/p")
    assert take_probe("s3://other/p", name) == "what it writes to s3://other/p does not arrive there: " + (
        "it is led to another place"
    )
    assert take_probe("s3://bucket/p", name) == ""
    assert take_probe("s3://bucket/p", "no keys") == "no keys"
    assert not objects(bucket.parent)


# --- errors ------------------------------------------------------------------------------------------

ANSWERS = {
    (403, "AccessDenied"): "access is denied",
    (403, "SignatureDoesNotMatch"): "the keys in the environment are not right",
    (404, "NoSuchBucket"): "there is no such bucket",
    (301, "PermanentRedirect"): "it lies in another region. Set AWS_REGION",
    (503, "SlowDown"): "its server fails",
}


@pytest.mark.parametrize(("answer", "reason"), ANSWERS.items())
def test_what_a_server_answers_is_one_line_without_its_secrets(answer, reason, monkeypatch):
    code, name = answer

    class Server(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            # As S3 does: docs.aws.amazon.com/AmazonS3, "Error responses".
            body = f"<Error><Code>{name}</Code><StringToSign>very-secret</StringToSign></Error>".encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "very-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    connect.cache_clear()
    try:
        said = leave_probe("s3://bucket/p")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        connect.cache_clear()
    assert reason in said
    assert said.startswith("s3://bucket/p cannot be written: ")
    assert "secret" not in said
    assert "\n" not in said


def test_only_maps_go_to_object_stores():
    with pytest.raises(RecipeError, match="only maps are written to object stores"):
        local_folder("s3://bucket/chips")
    assert where(place_of("s3://bucket/maps/a")) == "s3://bucket/maps/a"
    assert where(place_of("maps/a")) == "maps/a"
