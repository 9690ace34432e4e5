import base64
import re
from html.parser import HTMLParser

import pytest

from geoseg.report.facts import ModelFacts
from geoseg.report.html import render_html
from geoseg.report.preview import map_png_bytes
from tests.report.conftest import HOSTILE, an_item

VOID = {"meta", "img", "br", "link", "input", "hr"}
LOADING = {
    "src",
    "href",
    "srcset",
    "data",
    "action",
    "poster",
    "background",
    "cite",
    "formaction",
    "xlink:href",
}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails when an element is left open or closed twice."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture
def render(make_report):
    def make(*args, **options):
        class_tif, report = make_report(*args, **options)
        return render_html(report, map_png_bytes(class_tif, report=report))

    return make


def test_nothing_is_loaded_from_outside(render):
    page = Page(render())
    loaded = [(tag, v) for tag, attributes in page.tags for k, v in attributes.items() if k in LOADING]
    assert [tag for tag, _ in loaded] == ["img"]
    assert loaded[0][1].startswith("data:image/png;base64,")
    assert base64.b64decode(loaded[0][1].split(",")[1]).startswith(b"\x89PNG")
    assert not page.all("script")
    assert not page.all("link")
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in render()
    assert "@import" not in render()


def test_all_text_is_escaped(render):
    html = render(
        title=HOSTILE,
        source=HOSTILE,
        assumptions=(HOSTILE,),
        adapted=(HOSTILE,),
        warnings=(HOSTILE,),
        attribution=HOSTILE,
        timings_s={HOSTILE: 1.0},
        geoseg_version=HOSTILE,
        items=(an_item(id=HOSTILE, collection=HOSTILE, href=HOSTILE, calibration=HOSTILE),),
        model=ModelFacts(name=HOSTILE, title=HOSTILE, license=HOSTILE, sha256=HOSTILE, bands=(HOSTILE,)),
    )
    page = Page(html)
    assert "<script" not in html
    assert not page.all("script")
    assert not [k for _, attributes in page.tags for k in attributes if k.startswith("on")]
    assert page.words.count("alert('&')") >= 16


def test_page_tells_the_facts(render):
    html = render(
        title="Olinda, Brazil",
        warnings=("One thing is odd.",),
        assumptions=("No --datetime was given.",),
        adapted=("The offset was removed.",),
        attribution="Landsat, USGS",
        timings_s={"read": 3.25, "predict": 70},
        elapsed_s=75.0,
        peak_memory_mb=1234.0,
    )
    words = Page(html).words
    for fact in (
        "Olinda, Brazil", "1.34 km² mapped", "2024-06-01", "spectral-rules", "One thing is odd.", "2 km²",
        "No --datetime was given.", "The offset was removed.", "Landsat, USGS", "3.2 s", "1 min 10 s",
        "1 min 15 s", "1,234 MB", "water 34.00 3,400 25.4%",
        "tree 60.00 6,000 44.8%", "built 0 0 0%", "3.2%",
        "S2A_1", "67.0%", "All classes 134 13,400 100.0%", "EPSG:32725", "200 m", "geoseg 0.1.0",
    ):  # fmt: skip
        assert fact in words, fact


def test_page_can_be_read_by_everyone(render):
    page = Page(render(warnings=("w",)))
    assert page.all("html")[0]["lang"] == "en"
    assert "water 25.4%" in page.all("img")[0]["alt"]
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    assert len(page.all("h1")) == 1
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)


def test_contrast_of_text_is_at_least_4_5_in_light_and_dark(render):
    css = render().split("<style>")[1].split("</style>")[0]
    themes = re.findall(r":root \{([^}]*)\}", css)
    assert len(themes) == 2
    for theme in themes:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", theme))
        for ink, paper in (
            ("ink", "paper"),
            ("quiet", "paper"),
            ("quiet", "sheet"),
            ("warn-ink", "warn-paper"),
        ):
            assert _contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper)


def test_parts_that_have_nothing_to_say_are_left_out(render):
    words = Page(render(items=())).words
    assert "Warning" not in words
    assert "What was assumed" not in words
    assert "None: the imagery came from local files." in words


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1, contrast ratio."""
    lights = sorted((_luminance(one), _luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    channels = [c / 255 for c in bytes.fromhex(digits)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
