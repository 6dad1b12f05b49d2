"""Books written here: the order of the spine, chapters without headings, and what cannot be read."""

import random

import pytest
from corpus.office_files import damaged, parts, read, reason, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("selectolax")

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
    'full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Pümps</dc:title></metadata><manifest>
<item id="b" href="text/two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/o%20ne.xhtml" media-type="application/xhtml+xml"/>
<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="x" href="toc.ncx" media-type="application/x-dtbncx+xml"/>
<item id="c" href="cover.jpg" media-type="image/jpeg"/></manifest>
<spine toc="x"><itemref idref="n"/><itemref idref="a"/><itemref idref="c"/><itemref idref="b"/><itemref idref="a"/>
</spine></package>"""
PAGE = (
    '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head>{}<script src="x"/></head>'
    "<body>{}</body></html>"
)
NAV = PAGE.format(
    "", '<nav><ol><li><a href="text/o%20ne.xhtml">Of <b>valves</b></a></li></ol></nav>'
)
NCX = (
    '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>Of valves</text></navLabel>'
    '<content src="text/o%20ne.xhtml#start"/></navPoint></navMap></ncx>'
)


def book(**changed):
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": PACKAGE,
        "OEBPS/text/o ne.xhtml": PAGE.format(
            "<title/>", "<p>Open the <i>valve</i>.</p><a id='p1'/><p>Wait.</p>"
        ),
        "OEBPS/text/two.xhtml": PAGE.format(
            "<title>File two</title>", "<h1>Of pumps</h1><h2>P1</h2><p>1450 turns.</p>"
        ),
        "OEBPS/nav.xhtml": NAV,
        "OEBPS/toc.ncx": NCX,
        "OEBPS/cover.jpg": "x",
    }
    files |= {
        name.replace("__", "/").replace("_dot_", "."): content for name, content in changed.items()
    }
    return zipped({name: content for name, content in files.items() if content is not None})


WHOLE = book()
TOLD = [
    "# The Pümps",
    "## Of valves",
    "Open the *valve*.",
    "Wait.",
    "## Of pumps",
    "### P1",
    "1450 turns.",
]


@pytest.mark.parametrize("without", ["OEBPS__nav_dot_xhtml", "OEBPS__toc_dot_ncx"])
def test_chapters_in_order_with_their_names(without):
    assert read("a.epub", book(**{without: None})) == TOLD
    assert read("a.epub", WHOLE) == TOLD


def test_contents_that_are_no_xml_leave_the_chapters_without_a_name():
    broken = book(OEBPS__nav_dot_xhtml=NAV.replace("Of ", "Of&nbsp;"), OEBPS__toc_dot_ncx=None)
    assert read("a.epub", broken) == [block for block in TOLD if block != "## Of valves"]


def test_a_book_without_a_title_starts_with_its_chapters():
    assert (
        read("a.epub", book(OEBPS__book_dot_opf=PACKAGE.replace("The Pümps", "")))[0]
        == "# Of valves"
    )


LOCKED = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><e:EncryptedData xmlns:e="urn:e">'
    '<e:CipherData><e:CipherReference URI="{}"/></e:CipherData></e:EncryptedData></encryption>'
)


def test_a_protected_font_does_not_protect_the_book():
    assert (
        read("a.epub", book(**{"META-INF__encryption_dot_xml": LOCKED.format("OEBPS/font.otf")}))
        == TOLD
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"META-INF__encryption_dot_xml": LOCKED.format("OEBPS/text/two.xhtml")}, "DRM"),
        ({"META-INF__container_dot_xml": None}, "not an EPUB"),
        ({"META-INF__container_dot_xml": "<container/>"}, "names no list"),
        ({"OEBPS__text__two_dot_xhtml": None}, "OEBPS/text/two.xhtml is missing"),
        ({"OEBPS__book_dot_opf": "<package>"}, "damaged: ParseError"),
        ({"OEBPS__book_dot_opf": "<package/>"}, "without text"),
    ],
)
def test_what_cannot_be_read_is_named(changed, expected):
    assert expected in reason("a.epub", book(**changed))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 20), inside=st.booleans())
def test_a_corrupted_book_is_read_or_refused(seed, count, inside):
    chance = random.Random(seed)
    if inside:
        files = parts(WHOLE)
        part = chance.choice(sorted(files))
        assert reason("a.epub", zipped(files | {part: damaged(files[part], chance, count)})) != ""
    else:
        assert reason("a.epub", damaged(WHOLE, chance, count)) != ""
