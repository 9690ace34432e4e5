"""Who hears how a run ended, over a real HTTP server on this machine."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import geopandas as gpd
import pytest
import rasterio
import shapely
from builders import Said, geobox_at, smooth, write_image
from commands import geoseg

from geoseg.errors import GeosegWarning, OutputError, RecipeError
from geoseg.jobs import notify as notify_module
from geoseg.jobs import run as run_module
from geoseg.jobs import stopping
from geoseg.jobs.run import run
from geoseg.jobs.stopping import Stopped, stoppable
from geoseg.recipe import Recipe

SECRET = "hunter2-xyzzy"


@pytest.fixture
def inbox():
    """What was sent, by a server that takes ``/ok``, refuses ``/no`` and never answers ``/hang``."""
    sent, free = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/hang"):
                free.wait(20)
            elif self.path.startswith("/ok"):
                sent.append(json.loads(body) | {"path": self.path, "auth": self.headers.get("Authorization")})
            self.send_response(403 if self.path.startswith("/no") else 200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.sent = sent
    server.address = f"json://me:{SECRET}@127.0.0.1:{server.server_port}"
    yield server
    free.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    image = write_image(folder / "scene.tif", smooth(0, (120, 120)), geobox_at(height=120, width=120))
    return {"image": (str(image),), "model": "spectral-rules", "block_size": 64, "backend": "torch-eager"}


def test_a_map_that_is_made_is_told_to_all_when_it_is_in_place(scene, tmp_path, inbox, monkeypatch):
    monkeypatch.setenv("MY_SLACK", f"{inbox.address}/ok/second")
    there, real = [], notify_module.tell
    monkeypatch.setattr(notify_module, "tell", lambda *a: there.append(out.exists()) or real(*a))
    out = tmp_path / "map"
    result = run(Recipe(**scene, out=str(out), notify=(f"{inbox.address}/ok/first", "env:MY_SLACK")))
    assert there == [True]
    assert sorted(note["path"] for note in inbox.sent) == ["/ok/first", "/ok/second"]
    for note in inbox.sent:
        assert note["title"] == "geoseg: scene is made"
        assert note["type"] == "success"
        assert note["auth"]
        where, how_large, classes = note["message"].splitlines()
        assert where == str(out)
        assert how_large == f"1.44 km², {result.report.coverage.valid_share:.1%} of it mapped"
        largest = max(result.report.classes, key=lambda c: c.pixels)
        assert classes.startswith(f"{largest.class_name} {largest.share:.1%} ({largest.area_ha:,.0f} ha)")
    for path in out.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert "notify" not in json.loads((out / "manifest.json").read_text())["recipe"]


def test_a_map_that_stands_is_no_news(scene, tmp_path, inbox):
    recipe = Recipe(**scene, out=str(tmp_path / "map"), resume=True, notify=(f"{inbox.address}/ok",))
    run(recipe.model_copy(update={"notify": ()}))
    time.sleep(1.1)  # reports say whole seconds
    said = Said()
    run(recipe, listener=said)
    assert said.lines[-1].endswith("nothing to do")
    assert inbox.sent == []
    run(recipe.model_copy(update={"min_area_ha": 0.5}))
    assert len(inbox.sent) == 1


def test_a_run_that_fails_is_told_in_its_one_line(scene, tmp_path, inbox):
    (tmp_path / "map").mkdir()
    (tmp_path / "map" / "mine.txt").touch()
    ran = geoseg(
        *("predict", "--image", scene["image"][0], "--model", "spectral-rules", "--out", tmp_path / "map"),
        *("--notify", f"{inbox.address}/ok"),
    )
    assert ran.returncode == 2
    (note,) = inbox.sent
    assert (note["title"], note["type"]) == ("geoseg: scene failed", "failure")
    assert ran.stderr.splitlines()[-1] == f"geoseg: {note['message']}"
    assert SECRET not in ran.stderr + ran.stdout


def test_what_is_no_fault_of_the_user_is_told_too(scene, tmp_path, inbox, monkeypatch):
    def breaks(*args, **options):
        raise ValueError("a bug at https://host/x?sig=abc")

    monkeypatch.setattr(run_module, "plan_run", breaks)
    with pytest.raises(ValueError, match="a bug"):
        run(Recipe(**scene, out=str(tmp_path / "map"), notify=(f"{inbox.address}/ok",)))
    assert inbox.sent[0]["message"] == "ValueError: a bug at https://host/x"


def test_a_run_that_is_stopped_says_what_is_left(scene, tmp_path, inbox):
    class AsksToStop(Said):
        def block(self, tally):
            if tally.n_made == 1:
                stopping._asked.set()  # as SIGTERM does; the lanes send one

    with stoppable(), pytest.raises(Stopped):
        run(
            Recipe(**scene, out=str(tmp_path / "map"), notify=(f"{inbox.address}/ok",)), listener=AsksToStop()
        )
    (note,) = inbox.sent
    assert (note["title"], note["type"]) == ("geoseg: scene was stopped", "warning")
    assert note["message"].splitlines() == [
        "Stopped as asked: 3 blocks are left.",
        "The next run goes on from there.",
    ]


def test_a_notification_that_fails_is_a_warning_and_the_map_is_made(scene, tmp_path, inbox, monkeypatch):
    monkeypatch.setattr(notify_module, "TIMEOUT_S", 3)
    addresses = (f"{inbox.address}/no", f"{inbox.address}/hang?rto=30", f"{inbox.address}/ok")
    started = time.monotonic()
    with pytest.warns(GeosegWarning) as warned:
        notify_module.tell(notify_module.services_of(addresses), "x is made", "text", "success")
    assert time.monotonic() - started < 25
    assert [str(w.message) for w in warned] == [
        "--notify, address 1 of 3, json:// could not be told that x is made: it was not taken. "
        "Try the address with: apprise -vv -b test ADDRESS",
        "--notify, address 2 of 3, json:// could not be told that x is made: no answer in 3 s. "
        "Try the address with: apprise -vv -b test ADDRESS",
    ]
    assert len(inbox.sent) == 1
    ran = geoseg(
        *("predict", "-q", "--image", scene["image"][0], "--model", "spectral-rules"),
        *("--out", tmp_path / "map", "--notify", f"{inbox.address}/no"),
    )
    assert ran.returncode == 0
    assert (tmp_path / "map" / "manifest.json").exists()
    (line,) = ran.stderr.splitlines()
    assert line.startswith(
        "warning: --notify, json:// could not be told that scene is made: it was not taken"
    )


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (f"nonsense://{SECRET}", "--notify: apprise cannot use this nonsense:// address."),
        (f"slack://{SECRET}", "--notify: apprise cannot use this slack:// address."),
        (SECRET, "--notify: this is no address."),
        ("env:NOT_SET", "--notify (env:NOT_SET): the environment variable is not set."),
    ],
)
def test_addresses_are_looked_at_before_a_run_begins(scene, tmp_path, address, line, monkeypatch, caplog):
    monkeypatch.setattr(run_module, "plan_run", lambda *a, **k: pytest.fail("it began"))
    with pytest.raises(RecipeError) as caught:
        run(Recipe(**scene, out=str(tmp_path / "map"), notify=(address,)))
    assert str(caught.value).startswith(line)
    assert SECRET not in str(caught.value) + caplog.text


def test_a_plan_warns_of_addresses_that_a_run_would_refuse(scene):
    common = ("predict", "--dry-run", "--image", scene["image"][0], "--model", "spectral-rules")
    done = geoseg(*common, "--notify", "env:NOT_SET")
    assert done.returncode == 0
    assert "warning: A run here would be refused: --notify (env:NOT_SET): the environment" in done.stderr
    assert "would be refused" not in geoseg(*common, "--notify", "json://127.0.0.1").stderr


def test_without_apprise_it_is_said_before_a_run_begins(scene, monkeypatch):
    monkeypatch.setattr(notify_module, "find_spec", lambda name: None)
    with pytest.raises(
        RecipeError, match=r"^--notify needs the package apprise: pip install 'geoseg\[notify\]'\.$"
    ):
        run(Recipe(**scene, notify=("json://127.0.0.1",)))
    with pytest.raises(OutputError):  # nobody to tell, nothing needed
        run(Recipe(**scene, out=__file__))


def test_addresses_are_never_shown(tmp_path):
    address = f"json://me:{SECRET}@127.0.0.1"
    recipe = Recipe(image=("x.tif",), notify=(address,))
    assert (
        SECRET
        not in f"{recipe!r} {recipe} {recipe.model_dump()} {recipe.model_dump_json()} {recipe.changed()}"
    )
    assert recipe.model_copy(update={"out": "y"}).notify == (address,)
    file = tmp_path / "job.toml"
    file.write_text(f'image = "x.tif"\nnotify = "{address}"\n')  # one is as good as a list of one
    assert Recipe.resolve(str(file)).notify == (address,)
    file.write_text(f'image = "x.tif"\nnotify = {{ address = "{address}" }}\n')
    ran = geoseg("run", file)
    assert (ran.returncode, ran.stderr) == (2, f"geoseg: {file}: notify: expected a list.\n")


def test_maps_of_features_are_one_message(scene, tmp_path, inbox):
    with rasterio.open(scene["image"][0]) as source:
        left, bottom, right, top = source.bounds
        crs = source.crs
    middle = (left + right) / 2
    halves = {"west": (left, bottom, middle, top), "east": (middle, bottom, right, top)}
    boxes = [shapely.box(*sides) for sides in halves.values()]
    layer = tmp_path / "halves.gpkg"
    gpd.GeoDataFrame({"name": list(halves)}, geometry=boxes, crs=crs).to_file(layer)
    address, out = f"{inbox.address}/ok", tmp_path / "maps"
    args = ["--image", scene["image"][0], "--model", "spectral-rules", "--aoi", layer, "--notify", address]
    ran = geoseg("predict", "-q", *args, "--per-feature", "name", "--out", out)
    assert ran.returncode == 0, ran.stderr
    (note,) = inbox.sent
    assert note["title"] == "geoseg: 2 maps of halves are made"
    lines = note["message"].splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(out / "west"), str(out / "east")]
    assert all(line.endswith(" km²") for line in lines)
