"""Dynamic World: its weights are fetched once and checked, its bundle is read, its logits are Google's."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from builders import as_image, geobox_at
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window
from safetensors.numpy import load

from geoseg.errors import ModelError
from geoseg.grid.tiling import TilePlan
from geoseg.inference.predictor import predict
from geoseg.models.card import write_card
from geoseg.models.dynamic_world import DynamicWorld
from geoseg.models.tensor_bundle import masked_crc32c, read_variables
from geoseg.models.weights import PublishedFile, PublishedWeights, cached_weights, safetensors_bytes
from geoseg.models.zoo import card_of, create_model, load_model

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "../shared/data"
PUBLISHED = SHARED / "models/dynamic_world/saved_model_forward"
SCENE = SHARED / "imagery/rstoolbox_sen2/rstoolbox_sen2_12band.tif"
INDEX, DATA = "variables.index", "variables.data-00000-of-00001"
URL = "GEOSEG_DYNAMIC_WORLD_URL"
DEAD = "http://me:secret@127.0.0.1:9/mirror"
needs_files = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"{PUBLISHED} is not here")
needs_scene = pytest.mark.skipif(
    not (PUBLISHED.is_dir() and SCENE.is_file()), reason=f"{PUBLISHED} or {SCENE} is not here"
)


# --- a bundle made by hand -----------------------------------------------------------------------


def varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(entries: dict[bytes, bytes]) -> bytes:
    out, before = b"", b""
    for key, value in entries.items():
        n_shared = next(
            (n for n, pair in enumerate(zip(before, key, strict=False)) if pair[0] != pair[1]), len(before)
        )
        out += varint(n_shared) + varint(len(key) - n_shared) + varint(len(value)) + key[n_shared:] + value
        before = key
    return out + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def snappy(raw: bytes) -> bytes:
    """Literals of up to 70 bytes; a run of at least 5 equal bytes becomes a literal and copies that overlap."""
    out, at = varint(len(raw)), 0
    while at < len(raw):
        run = len(raw[at : at + 64]) - len(raw[at : at + 64].lstrip(raw[at : at + 1]))
        if run >= 5:
            out += bytes([0, raw[at]])
            n = min(run - 1, 11)
            out += bytes([(n - 4) << 2 | 1, 1]) if n >= 4 else b""
            n = run - 1 - n
            out += bytes([(n - 1) << 2 | 2, 1, 0]) if n else b""
            at += run
        else:
            piece = raw[at : at + 70] if at else raw[:1]
            out += bytes([60 << 2, len(piece) - 1]) if len(piece) > 60 else bytes([(len(piece) - 1) << 2])
            out += piece
            at += len(piece)
    return out


def bundle(
    tensors: dict[str, np.ndarray], *, is_packed: bool, header: bytes | None = None
) -> tuple[bytes, bytes]:
    """``variables.index`` and ``variables.data``: a header, tensors in two blocks, and a string to be left out."""
    data = b""
    entries = {b"": field(1, 1) + field(3, field(1, 1)) if header is None else header}
    for name, tensor in sorted(tensors.items()):
        raw = tensor.astype("<f4").tobytes()
        shape = b"".join(field(2, field(1, n)) for n in tensor.shape)
        crc = varint(6 << 3 | 5) + masked_crc32c(raw).to_bytes(4, "little")
        entries[name.encode()] = (
            field(1, 1) + field(2, shape) + field(4, len(data)) + field(5, len(raw)) + crc
        )
        data += raw
    entries[b"~graph"] = field(1, 7) + field(4, len(data)) + field(5, 3)
    data += b"abc"
    index, handles, names = b"", {}, list(entries)
    for part in (names[: len(names) // 2], names[len(names) // 2 :]):
        handle = stored(index, block({name: entries[name] for name in part}), is_packed)
        handles[part[-1]] = handle[1]
        index = handle[0]
    index, where = stored(index, block(handles), is_packed)
    footer = varint(0) + varint(0) + where
    return index + footer.ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little"), data


def stored(index: bytes, content: bytes, is_packed: bool) -> tuple[bytes, bytes]:
    """The file with the block behind it, and the block's handle."""
    body = snappy(content) if is_packed else content
    handle = varint(len(index)) + varint(len(body))
    body += bytes([is_packed])
    return index + body + masked_crc32c(body).to_bytes(4, "little"), handle


TENSORS = {
    "variables/0/VALUE": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "variables/1/VALUE": np.zeros((1, 5), np.float32),
    "variables/10/VALUE": np.float32([[-1.5]]),
    "scalar": np.float32(7),
}


def test_the_checksum_is_castagnoli():
    """RFC 3720, appendix B.4: 32 bytes of 0 give 8a9136aa; iSCSI's check value of 123456789 is e3069283."""
    for data, crc in ((bytes(32), 0x8A9136AA), (b"123456789", 0xE3069283)):
        rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
        assert masked_crc32c(data) == (rotated + 0xA282EAD8) % 2**32


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_bundle_comes_back(is_packed):
    found = read_variables(*bundle(TENSORS, is_packed=is_packed))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].shape == np.shape(tensor)
        np.testing.assert_array_equal(found[name], tensor)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.booleans(), st.data())
def test_a_damaged_bundle_is_refused_or_harmless(is_packed, is_cut, draw):
    """Whatever byte is lost or changed, in either file: a ModelError, or the same tensors."""
    files = [bytearray(f) for f in bundle(TENSORS, is_packed=is_packed)]
    file = files[draw.draw(st.integers(0, 1), label="file")]
    at = draw.draw(st.integers(0, len(file) - 1), label="byte")
    if is_cut:
        del file[at:]
    else:
        file[at] ^= draw.draw(st.integers(1, 255), label="flip")
    try:
        found = read_variables(*map(bytes, files))
    except ModelError:
        return
    assert found.keys() == TENSORS.keys()
    assert all(np.array_equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize(
    ("header", "index"),
    [
        (field(1, 2), None),
        (field(1, 1) + field(2, 1), None),
        (b"\xff" * 11, None),
        (None, b""),
        (None, b"x" * 48),
    ],
)
def test_other_bundles_are_refused(header, index):
    files = bundle(TENSORS, is_packed=False, header=header)
    with pytest.raises(ModelError, match="variables of the SavedModel cannot be read"):
        read_variables(files[0] if index is None else index, files[1])


@needs_files
def test_the_published_bundle_is_read():
    found = read_variables(*((PUBLISHED / "variables" / name).read_bytes() for name in (INDEX, DATA)))
    assert len(found) == 146
    assert sum(tensor.size for tensor in found.values()) == 231_209
    assert found["variables/0/.ATTRIBUTES/VARIABLE_VALUE"].shape == (3, 3, 9, 64)


# --- fetching ------------------------------------------------------------------------------------


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path)


class _Broken(_Handler):
    """Announces more than it sends."""

    def do_GET(self):
        self.log_message()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")


@contextmanager
def serving(folder: Path, handler=_Handler):
    """An address of the folder's files, and the paths that were asked for."""
    make = partial(handler, directory=str(folder)) if handler is _Handler else handler
    with ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(URL, raising=False)
    return tmp_path / "cache/geoseg/models/dynamic-world"


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*")) if cache.exists() else []


CONTENT = b"0123456789" * 100


def published(url: str, content: bytes = CONTENT) -> PublishedWeights:
    file = PublishedFile(path="deep/one.bin", n_bytes=len(content), sha256=sha256(content).hexdigest())
    return PublishedWeights(url, (file,), lambda contents: {"x": np.frombuffer(contents["one.bin"], "<f4")})


def small_card():
    weights = safetensors_bytes({"x": np.frombuffer(CONTENT, "<f4")})
    return card_of("dynamic-world").model_copy(update={"sha256": sha256(weights).hexdigest()})


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror/deep").mkdir(parents=True)
    (tmp_path / "mirror/deep/one.bin").write_bytes(CONTENT)
    return tmp_path / "mirror"


def test_weights_are_fetched_once(cache, mirror):
    with serving(mirror) as (url, asked):
        assert cached_weights(small_card(), published(url)) == cache
        assert cached_weights(small_card(), published(url)) == cache
    assert asked == ["/deep/one.bin"]
    assert left_in(cache) == ["weights.safetensors"]
    assert cached_weights(small_card(), published(url)) == cache  # the server is gone
    np.testing.assert_array_equal(
        load((cache / "weights.safetensors").read_bytes())["x"], np.frombuffer(CONTENT, "<f4")
    )


def test_a_damaged_cache_is_fetched_again(cache, mirror):
    with serving(mirror) as (url, asked):
        cached_weights(small_card(), published(url))
        (cache / "weights.safetensors").write_bytes(b"half a fi")
        cached_weights(small_card(), published(url))
    assert len(asked) == 2


@pytest.mark.parametrize("there", [CONTENT[:-1] + b"x", CONTENT + b"x", CONTENT * 1000])
def test_another_file_is_refused_and_nothing_stays(cache, mirror, there):
    (mirror / "deep/one.bin").write_bytes(there)
    with serving(mirror) as (url, _), pytest.raises(ModelError, match=r"has sha256 .*, expected .*not used"):
        cached_weights(small_card(), published(url))
    assert left_in(cache) == []


@pytest.mark.parametrize(
    ("handler", "path", "reason"),
    [
        (_Handler, "/nowhere", "the server answers 404"),
        (_Broken, "", "(broke off|ended after 4 of 1000 bytes)"),
    ],
)
def test_an_interrupted_download_leaves_nothing(cache, mirror, handler, path, reason):
    with serving(mirror, handler) as (url, _), pytest.raises(ModelError, match=reason) as caught:
        cached_weights(small_card(), published(url + path))
    assert "\n" not in str(caught.value)
    assert left_in(cache) == []


def test_a_wrong_conversion_is_not_kept(cache, mirror):
    with serving(mirror) as (url, _), pytest.raises(ModelError, match="Please report"):
        cached_weights(card_of("dynamic-world"), published(url))
    assert left_in(cache) == []


def test_files_put_there_by_hand_need_no_network(cache):
    cache.mkdir(parents=True)
    (cache / "one.bin").write_bytes(CONTENT)
    assert cached_weights(small_card(), published(DEAD)) == cache


def test_a_cache_that_cannot_be_written_is_explained(cache, mirror, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with serving(mirror) as (url, _), pytest.raises(ModelError, match="Set XDG_CACHE_HOME"):
        cached_weights(small_card(), published(url))


def test_offline_says_what_to_do(cache, monkeypatch):
    monkeypatch.setenv(URL, DEAD)
    with pytest.raises(ModelError) as caught:
        create_model("dynamic-world")
    message = str(caught.value)
    assert message.startswith(
        "Cannot fetch http://127.0.0.1:9/mirror/variables/variables.index: no connection"
    )
    for word in (INDEX, DATA, str(cache), URL):
        assert word in message
    assert "secret" not in message
    assert "\n" not in message
    assert left_in(cache) == []


def test_the_card_needs_no_network(cache, monkeypatch):
    monkeypatch.setenv(URL, DEAD)
    card = card_of("dynamic-world")
    assert len(card.legend.classes) == len(card.bands) == 9
    assert left_in(cache) == []


# --- the network ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained() -> DynamicWorld:
    """Deterministic weights under which every pixel of the receptive field matters."""
    torch.manual_seed(3)
    module = DynamicWorld(9).eval().requires_grad_(False)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.abs_()
    return module


@torch.inference_mode()
def test_the_halo_is_the_reach_of_a_pixel(untrained):
    """A changed pixel is seen up to 22 pixels away: 1 + 2 * (9 + 1) of the layers, and 1 of resizing."""
    halo = card_of("dynamic-world").halo
    pixels = torch.rand(1, 9, 60, 60).double()
    network = untrained.double()
    reach = 0
    for at in (30, 31):
        changed = pixels.clone()
        changed[..., at, at] += 1
        rows = (network(changed) - network(pixels)).abs().amax((0, 1, 3)).nonzero()[:, 0]
        reach = max(reach, at - int(rows.min()), int(rows.max()) - at)
    untrained.float()
    assert reach == halo


@torch.inference_mode()
def test_nodata_is_to_the_network_what_the_edge_of_an_image_is(untrained):
    pixels = torch.rand(1, 9, 40, 52) + 0.01
    alone = untrained(pixels)
    framed = untrained(torch.nn.functional.pad(pixels, (12, 30, 24, 4)))[..., 24:64, 12:64]
    assert (framed - alone).abs().max() < 1e-4 * alone.abs().max()


@torch.inference_mode()
def test_lone_pixels_and_empty_tiles_give_numbers(untrained):
    pixels = torch.zeros(3, 9, 32, 32)
    pixels[0, :, 7, 12] = 0.3
    pixels[1, :, 3::5, 4::7] = -0.5
    logits = untrained(pixels)
    assert torch.isfinite(logits).all()
    assert (logits[0, :, 7, 12] - logits[2, :, 7, 12]).abs().max() > 1e-4


def test_other_bands_are_refused(tmp_path):
    card = card_of("dynamic-world")
    write_card(card.model_copy(update={"bands": ("blue", *card.bands[2:], "red")}), tmp_path)
    with pytest.raises(ModelError, match="its family dynamic-world takes blue, green"):
        load_model(str(tmp_path))


# --- against Google's own answers ----------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """From the published files, served as their repository serves them."""
    with pytest.MonkeyPatch.context() as patch, serving(PUBLISHED) as (url, asked):
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv(URL, url)
        found = create_model("dynamic-world")
    assert asked == [f"/variables/{INDEX}", f"/variables/{DATA}"]
    return found


@pytest.fixture(scope="module")
def reference():
    return np.load(PUBLISHED.parent / "reference_io.npz")


@pytest.fixture(scope="module")
def scene():
    """(9, 237, 247) reflectance."""
    with rasterio.open(SCENE) as file:
        numbers = [file.descriptions.index(f"B{n}") + 1 for n in (2, 3, 4, 5, 6, 7, 8, 11, 12)]
        return ((file.read(numbers).astype(np.float32) - 1000) / 10_000).astype(np.float32)


@needs_files
@torch.inference_mode()
def test_logits_are_the_published_models(model, reference):
    given = torch.from_numpy(reference["random_input"]).permute(0, 3, 1, 2)
    logits = model.module.logits(given, torch.ones(1, 1, *given.shape[2:])).permute(0, 2, 3, 1)
    assert np.abs(logits.numpy() - reference["random_logits"]).max() < 1e-4


@needs_scene
@torch.inference_mode()
def test_the_scenes_classes_are_the_published_models(model, reference, scene):
    logits = model.module(torch.from_numpy(scene)[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(logits - reference["scene_logits"].astype(np.float32)).max() < 6e-3  # float16 of up to 8.9
    assert (logits.argmax(-1) == reference["scene_class"]).mean() > 0.9999


@needs_scene
@torch.inference_mode()
def test_tiles_give_the_map_of_one_pass(model, scene):
    """Measured on the whole scene: 0.25 % of pixels differ, where the two best classes are within 0.05."""
    pixels = scene[:, 60:190, :130]  # clearings: the part with most classes
    geobox = geobox_at(height=130, width=130)
    plan = TilePlan(geobox, 128, model.card.halo)
    image = as_image(pixels, geobox, bands=model.card.bands)
    tiled = predict(image, model=model, plan=plan).class_id.values
    probs = model.module(torch.from_numpy(pixels)[None])[0].softmax(0)
    differs = tiled != probs.argmax(0).numpy()
    best = probs.topk(2, 0).values
    assert differs.mean() < 0.01
    assert (best[0] - best[1]).numpy()[differs].max() < 0.1
    window = Window(71, 31, 40, 50)
    part = predict(image, model=model, plan=plan, window=window).class_id.values
    np.testing.assert_array_equal(part, tiled[31:81, 71:111])


@pytest.mark.lane
@needs_scene
def test_the_command_maps_the_scene(cache, tmp_path, monkeypatch):
    """Fetched over HTTP by a process of its own; afterwards no server is needed."""
    with serving(PUBLISHED) as (url, asked):
        report = command(tmp_path / "out", url)
    assert len(asked) == 2
    monkeypatch.setenv(URL, DEAD)
    assert create_model("dynamic-world").card.sha256
    shares = {c["class_name"]: c["share"] for c in report["classes"]}
    assert shares["trees"] == pytest.approx(0.70, abs=0.02)
    assert shares["water"] == pytest.approx(0.12, abs=0.01)


def command(out: Path, url: str) -> dict:
    code = "from geoseg.cli.main import run; run()"
    flags = [
        "--model",
        "dynamic-world",
        "--image",
        str(SCENE),
        "--out",
        str(out),
        "--tile-size",
        "128",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", *flags],
        capture_output=True,
        text=True,
        env={**os.environ, URL: url, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
