"""The gallery as HTML: two runs' pictures under a slider, the window where they differ most, weight maps."""

from __future__ import annotations

import json
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from refusion.reporting.comparison.gallery import Shown


def gallery_html(shown: Sequence[Shown], left: str, right: str) -> Markup:
    """Returns the gallery of one group; empty where nothing is shown.

    Args:
        shown: the pairs.
        left, right: labels of the two pictures that are seen first, where a pair has them.
    """
    if not shown:
        return Markup("")
    content = [
        {
            "pair": one.pair,
            "pictures": one.pictures,
            "window": one.window,
            "insets": one.insets,
            "weights": one.weights,
            "captions": {label: _caption(one, label) for label in one.pictures},
        }
        for one in shown
    ]
    # Inside of a script element only "</" and "<!--" could end it.
    data = Markup(json.dumps({"pairs": content, "left": left, "right": right}).replace("<", "\\u003c"))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    first = shown[0]
    return Markup(environment.from_string(_GALLERY).render(data=data, pairs=[one.pair for one in shown], first=first))


def _caption(one: Shown, label: str) -> str:
    return f"{label}, epoch {one.epochs[label]}" if label in one.epochs else label


_GALLERY = """\
<div class="gallery">
<div class="controls">
<label>pair <select class="pair">
{% for pair in pairs %}<option>{{ pair }}</option>{% endfor %}
</select></label>
<label>left <select class="left"></select></label>
<label>right <select class="right"></select></label>
</div>
<div class="side-by-side">
<div class="compare">
<img class="under" alt="right picture" src="{{ first.pictures.values() | list | last }}">
<img class="over" alt="left picture" src="{{ first.pictures.values() | list | last }}">
<div class="frame"></div><div class="divider"></div>
<span class="name at-left"></span><span class="name at-right"></span>
<input type="range" min="0" max="100" value="50" aria-label="share of the left picture">
</div>
<div>
<p class="hint">Drag over the picture: left of the line is the left picture. The frame is where the fused pictures
differ most; below it is enlarged, pixel by pixel.</p>
<div class="row insets"></div>
</div>
</div>
<div class="row weights"></div>
<script type="application/json">{{ data }}</script>
</div>
"""

GALLERY_STYLE = Markup("""
  .gallery .controls { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: .6rem 0; font-size: .9rem; }
  .side-by-side { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
  .side-by-side > div:last-child { flex: 1 1 20rem; }
  .gallery select { font: inherit; max-width: 18rem; }
  .compare { position: relative; display: inline-block; max-width: 100%; line-height: 0; background: #111; }
  .compare img { display: block; max-width: 100%; max-height: 34rem; width: auto; height: auto; }
  .compare .over { position: absolute; inset: 0; width: 100%; height: 100%; }
  .compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
  .compare .divider { position: absolute; top: 0; bottom: 0; width: 2px; background: #fff; box-shadow: 0 0 3px #000; }
  .compare .frame { position: absolute; border: 2px solid #ff8c00; box-sizing: border-box; }
  .compare .name { position: absolute; bottom: .4rem; padding: .15rem .5rem; background: rgba(17,24,39,.75);
                   color: #fff; font-size: .8rem; line-height: 1.3; border-radius: 3px; }
  .compare .at-left { left: .4rem; } .compare .at-right { right: .4rem; }
  .gallery .hint { margin-top: 0; color: #4b5563; font-size: .85rem; }
  .row { display: flex; flex-wrap: wrap; gap: .7rem; }
  .row figure { margin: .3rem 0 0; }
  .row figcaption { font-size: .8rem; }
  .insets img { width: 124px; height: 124px; image-rendering: pixelated; border: 2px solid #ff8c00; }
  .weights { margin-top: .7rem; }
  .weights img { width: 27rem; max-width: 100%; border: 1px solid #e5e7eb; }
""")

GALLERY_SCRIPT = Markup("""
for (const root of document.querySelectorAll(".gallery")) {
  const {pairs, left, right} = JSON.parse(root.querySelector("script").textContent);
  const get = name => root.querySelector(name);
  const range = get("input"), choice = {left: get(".left"), right: get(".right")};
  const pick = (select, names, wanted, otherwise) => {
    select.replaceChildren(...names.map(name => new Option(name, name)));
    select.value = names.includes(wanted) ? wanted : otherwise;
  };
  const tile = (caption, source) => {
    const figure = document.createElement("figure"), image = new Image(), text = document.createElement("figcaption");
    image.src = source; image.alt = caption; text.textContent = caption;
    figure.append(image, text);
    return figure;
  };
  const split = () => {
    get(".over").style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    get(".divider").style.left = `calc(${range.value}% - 1px)`;
  };
  const show = () => {
    const pair = pairs[get(".pair").selectedIndex];
    get(".over").src = pair.pictures[choice.left.value];
    get(".under").src = pair.pictures[choice.right.value];
    get(".at-left").textContent = pair.captions[choice.left.value];
    get(".at-right").textContent = pair.captions[choice.right.value];
    const frame = get(".frame");
    frame.hidden = !pair.window;
    if (pair.window) {
      const [x, y, width, height] = pair.window.map(share => `${100 * share}%`);
      Object.assign(frame.style, {left: x, top: y, width, height});
    }
  };
  const change = () => {
    const pair = pairs[get(".pair").selectedIndex], names = Object.keys(pair.pictures);
    pick(choice.left, names, choice.left.value || left, names[0]);
    pick(choice.right, names, choice.right.value || right, names[names.length - 1]);
    get(".insets").replaceChildren(
      ...Object.keys(pair.insets).map(name => tile(pair.captions[name], pair.insets[name])));
    get(".weights").replaceChildren(
      ...Object.keys(pair.weights).map(name => tile(`weights proposed by ${pair.captions[name]}`, pair.weights[name])));
    show();
  };
  range.addEventListener("input", split);
  get(".pair").addEventListener("change", change);
  for (const select of Object.values(choice)) select.addEventListener("change", show);
  change(); split();
}
""")
