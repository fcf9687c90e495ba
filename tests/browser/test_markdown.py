"""What the page makes of markdown: the shapes models write, and never anything else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DRAW = """
const box = document.createElement("div");
window.markdown.markdownView(box, {copy: "Copy"})(arguments[0]);
const inside = [...box.querySelectorAll("*")];
const attributes = inside.flatMap((element) => [...element.attributes]);
return [box.innerHTML, inside.map((element) => element.localName),
  attributes.map((attribute) => `${attribute.name}=${attribute.value}`)];
"""
ELEMENTS = {
    *("p", "br", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "hr"),
    *("strong", "em", "s", "code", "pre", "a", "div", "figure", "figcaption", "span", "button"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
PLAIN = {"class", "tabindex", "start", "type", "target", "rel"}
MARKS = "`*_~#>|[]()-+.!:\\<&\"' \n1aZ하"
PIECES = [
    "**",
    "```",
    "~~~js",
    "- ",
    "1. ",
    "  - ",
    "> ",
    "|a|b|",
    "|-|-|",
    "# ",
    "\n",
    " ",
    "word",
]
TRAPS = ["[x](https://e.org/)", "[x](javascript:alert(1))", "<img src=x onerror=alert(1)>", "---"]
texts = st.one_of(
    st.text(alphabet=MARKS, max_size=120),
    st.lists(st.sampled_from(PIECES + TRAPS), max_size=40).map("".join),
)


@pytest.fixture(scope="module")
def draw(english, web):
    """The page's own renderer: text in, (HTML, element names, attributes) out."""
    english.get(web.url)
    english.execute_async_script(
        """const done = arguments[0];
        import("/static/markdown.js").then((module) => { window.markdown = module; done(); });"""
    )
    return lambda text: english.execute_script(DRAW, text)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
        (
            "**b** and *i* and `c*d*`",
            "<p><strong>b</strong> and <em>i</em> and <code>c*d*</code></p>",
        ),
        ("snake_case_name 2*3*4", "<p>snake_case_name 2*3*4</p>"),
        ("# Title", "<h3>Title</h3>"),
        (
            "- a\n  - b\n- c",
            "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ul>",
        ),
        ("3. a\n4. b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'),
        ("> said", "<blockquote><p>said</p></blockquote>"),
        ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
        ("<b>x</b> &amp;", "<p>&lt;b&gt;x&lt;/b&gt; &amp;amp;</p>"),
        (r"\*not\*", "<p>*not*</p>"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("![x](https://e.org/a.png)", None),
    ],
)
def test_markdown_becomes_these_elements(draw, text, html):
    drawn, names, _ = draw(text)
    assert html is None or drawn == html
    assert "img" not in names


def test_a_fence_keeps_its_text_and_may_still_be_open(draw):
    closed, _, _ = draw("```py\nif a < b:\n    pass\n```\nafter")
    assert "<code>if a &lt; b:\n    pass</code>" in closed
    assert closed.endswith("<p>after</p>")
    growing, _, _ = draw("```py\nif a")
    assert "<code>if a</code>" in growing


def test_a_table_has_its_head_and_its_rows(draw):
    drawn, _, _ = draw("| a | b |\n|---|:-:|\n| 1 | **2** |")
    assert "<th>a</th><th>b</th>" in drawn
    assert "<td>1</td><td><strong>2</strong></td>" in drawn


def test_a_link_shows_where_it_leads_and_gives_nothing_along(draw):
    drawn, _, attributes = draw("[here](https://e.org/x) and https://e.org/y.")
    assert 'href="https://e.org/x"' in drawn
    assert 'title="https://e.org/x"' in drawn
    assert 'href="https://e.org/y"' in drawn
    assert attributes.count("rel=noopener noreferrer nofollow") == 2


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_no_text_leads_to_anything_but_plain_elements_and_web_links(draw, text):
    _, names, attributes = draw(text)
    assert set(names) <= ELEMENTS
    for attribute in attributes:
        name, value = attribute.split("=", 1)
        assert name in PLAIN or (name in ("href", "title") and value.startswith("http"))


def test_a_text_that_grows_is_drawn_as_if_it_came_at_once(draw, english):
    text = "Hi **you**\n\n- a\n- b\n\n```js\n1<2\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend"
    grown = english.execute_script(
        """const box = document.createElement("div");
        const show = window.markdown.markdownView(box, {copy: "Copy"});
        for (let at = 0; at <= arguments[0].length; at += 1) show(arguments[0].slice(0, at));
        return box.innerHTML;""",
        text,
    )
    assert grown == draw(text)[0]


@pytest.mark.parametrize(
    "piece", ["**a ", "`", "[", "*", "- ", "> ", "|", "_a ", "#", "~~a ", "\n"]
)
def test_a_hostile_length_does_not_hold_the_page_up(draw, english, piece):
    took_ms = english.execute_script(
        """const start = performance.now();
        window.markdown.markdownView(document.createElement("div"), {copy: "Copy"})(arguments[0]);
        return performance.now() - start;""",
        piece * (60_000 // len(piece)),
    )
    assert took_ms < 2000
