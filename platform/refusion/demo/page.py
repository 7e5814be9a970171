"""Page of the demo, in Gradio: choices and pictures go in, a `Result` is shown; every fault of theirs is a sentence."""

from __future__ import annotations

import html
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refusion.config.ranges import AUTO, RANGE_FORMS, Reading, parse_ranges
from refusion.demo.environment import gradio
from refusion.demo.examples import builtin_examples
from refusion.demo.fusing import FUSED, SOURCE_A, SOURCE_B, Result, fuse_files, preview
from refusion.demo.modules import Chosen, choose, offered
from refusion.demo.scores import Scores, as_html, fitting_metrics, is_slow, score
from refusion.errors import UserError
from refusion.tasks import TASKS

logger = logging.getLogger(__name__)

_FIRST_TASK = "IVIF"
_INTRODUCTION = """# Fuse two pictures
Two registered pictures of one scene become one, by a trained module. Everything is computed by this server."""
_MAPS = "Weights that the loss proposal module proposes for source a; white: both sources alike."
_NO_MAPS = "There are no maps of weights: this module came without a loss proposal module."


@dataclass(frozen=True)
class PageOptions:
    """Options of the page, as the command line or Serve gave them.

    Attributes:
        named: further modules, from their name to what ``--checkpoint`` takes.
        any_path: visitors may give a path on this machine, or an address in MLflow, as a module.
        megapixels: pixels that a picture may have, in millions.
        trusted: import paths of networks that a checkpoint may name; True for any.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    any_path: bool = False
    megapixels: float = Reading().megapixels
    trusted: bool | Collection[str] = False


def build_page(options: PageOptions, folder: Path) -> Any:
    """Returns the page, a ``gradio.Blocks``.

    Args:
        options: of the page.
        folder: for the results' files, on this machine.

    Raises:
        UserError: Gradio is not installed.
    """
    gr = gradio()
    page = _Page(options, folder)
    with gr.Blocks(title="refusion demo", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        gr.Markdown(_INTRODUCTION)
        with gr.Row():
            task = gr.Radio(
                [(f"{name} · {one.title}", name) for name, one in TASKS.items()],
                value=_FIRST_TASK, label="task", elem_id="task",
            )  # fmt: skip
            module = gr.Dropdown(page.modules(_FIRST_TASK), label="module", elem_id="module", allow_custom_value=False)
        with gr.Row():
            files, shown = [], []
            for side in "ab":
                with gr.Column():
                    files.append(gr.File(label=_label(_FIRST_TASK, side), height=110, elem_id=f"file-{side}"))
                    shown.append(
                        gr.Image(label=f"source {side}", height=240, show_label=False, interactive=False, buttons=[])
                    )
        with gr.Accordion("more: ranges, other modules, slow metrics", open=False):
            ranges = gr.Textbox(AUTO, label="--range: values that become black and white", info=RANGE_FORMS)
            path = gr.Textbox(
                "", label="--checkpoint: another module", elem_id="path", visible=options.any_path,
                info="instead of the one above: checkpoint folder, weight file (.pth, .safetensors) or models:/… "
                "address, on this machine",
            )  # fmt: skip
            slow = gr.Checkbox(
                False, label="score the four FMI too", elem_id="slow",
                info="most of a minute for each picture of 640×480, where all others take seconds",
            )  # fmt: skip
        button = gr.Button("Fuse", variant="primary", elem_id="fuse")
        message = gr.HTML(elem_id="message")
        result = gr.State()
        with gr.Column(visible=False) as ended:
            with gr.Row():
                compared = gr.Dropdown([SOURCE_B], label="left of the slider", elem_id="compared", scale=1)
                download = gr.DownloadButton("Download", elem_id="download", scale=1)
            slider = gr.ImageSlider(
                label="fused is on the right", elem_id="slider", format="png", max_height=640, interactive=False,
                buttons=["fullscreen"],
            )  # fmt: skip
            caption = gr.Markdown()
            maps = gr.Image(
                show_label=False, elem_id="maps", format="png", interactive=False, buttons=["fullscreen"]
            )  # fmt: skip
            scores = gr.HTML(elem_id="scores")
        examples = builtin_examples()
        gr.Examples(
            list(examples.values()), [task, *files], label="examples (built-in scenes, for trying out only)",
            example_labels=list(examples), examples_per_page=20,
        )  # fmt: skip

        private: Any = {"api_visibility": "private", "show_progress": "minimal"}
        task.change(page.on_task, task, [module, *files], **private)
        for side, file, picture in zip("ab", files, shown, strict=True):
            seen = page.on_a if side == "a" else page.on_b
            file.change(seen, [file, ranges], [picture, message], **private)
        shows = [message, result, ended, compared, slider, caption, maps, download, scores]
        inputs = [*files, task, module, path, ranges, slow]
        button.click(page.on_fuse, inputs, shows, api_visibility="private", show_progress_on=button)
        compared.input(page.on_compare, [result, compared], slider, **private)
    return blocks


class _Page:
    """Handlers of the page's events; pictures and faults alike become what its parts show."""

    def __init__(self, options: PageOptions, folder: Path) -> None:
        self._options, self._folder, self._gr = options, folder, gradio()

    def modules(self, task: str) -> list[str]:
        """Names of the modules that can be chosen, the first of which is chosen."""
        return list(offered(task, self._options.named))

    def on_task(self, task: str) -> list[Any]:
        """Offers the task's modules, and names what a and b are."""
        gr, choices = self._gr, self.modules(task)
        value = choices[0] if choices else None
        return [gr.Dropdown(choices=choices, value=value), *(gr.File(label=_label(task, side)) for side in "ab")]

    def on_a(self, file: str | None, ranges: str) -> tuple[Any, str]:
        """Shows a as it is read."""
        return self._seen(file, "a", ranges)

    def on_b(self, file: str | None, ranges: str) -> tuple[Any, str]:
        """Shows b as it is read."""
        return self._seen(file, "b", ranges)

    def _seen(self, file: str | None, side: str, ranges: str) -> tuple[Any, str]:
        if file is None:
            return None, ""
        try:
            return preview(Path(file), side, self._reading(ranges)), ""
        except UserError as error:
            return None, _fault(str(error))

    def on_fuse(
        self, a: str | None, b: str | None, task: str, module: str | None, path: str | None, ranges: str, slow: bool,
        progress: Any = None,
    ) -> Iterator[list[Any]]:  # fmt: skip
        """Fuses and shows the pictures, then the scores as they come; or the sentence on why not."""
        progress = progress or self._gr.Progress()
        try:
            if a is None or b is None:
                raise UserError("drop two pictures first, or take an example from below")
            chosen = choose(self._checkpoint(module, path, task), task, self._options.trusted)
            target = Path(tempfile.mkdtemp(dir=self._folder))
            result = fuse_files(Path(a), Path(b), task, chosen, target, self._reading(ranges), progress)
            yield self._all_of(result, [f"{task}, fused by {self._about(chosen, module)}", *result.notes])
            for table, what in _scored(result, slow=slow):
                yield [*(self._gr.skip() for _ in range(8)), as_html(table) + _coming(what)]
        except UserError as error:
            yield self._instead(_fault(str(error)))
        except Exception:
            logger.exception("the demo could not fuse a pair")
            yield self._instead(_fault("something is wrong with the demo itself; where it runs, its output says what"))

    def _instead(self, message: str) -> list[Any]:
        return [message, None, self._gr.Column(visible=False), *(self._gr.skip() for _ in range(6))]

    def _all_of(self, result: Result, lines: list[str]) -> list[Any]:
        gr = self._gr
        height, width = result.sources.shape[1:]
        left = [name for name in result.pictures if name != FUSED]
        return [
            f'<div class="note">{"<br>".join(map(html.escape, lines))}</div>',
            result,
            gr.Column(visible=True),
            gr.Dropdown(choices=left, value=SOURCE_B),
            (result.pictures[SOURCE_B], result.pictures[FUSED]),
            _NO_MAPS if result.maps is None else _MAPS,
            gr.Image(value=result.maps, visible=result.maps is not None),
            gr.DownloadButton(f"Download ({width}×{height}, PNG of {result.depth} bits)", value=str(result.file)),
            _coming(FUSED),
        ]

    def on_compare(self, result: Result | None, name: str) -> Any:
        """Puts another picture on the left of the slider."""
        return self._gr.skip() if result is None else (result.pictures[name], result.pictures[FUSED])

    def _checkpoint(self, module: str | None, path: str | None, task: str) -> str:
        """Returns what ``--checkpoint`` would take; paths of this machine only where visitors may name them."""
        if path and path.strip() and self._options.any_path:
            return path
        found = offered(task, self._options.named).get(module or "")
        if found is None:
            raise UserError(f"there is no module {module!r} for {task} any more: load the page again")
        return found

    def _about(self, chosen: Chosen, module: str | None) -> str:
        """Returns which module it was; its place on this machine is not for visitors of others."""
        return chosen.about if self._options.any_path else str(module)

    def _reading(self, ranges: str) -> Reading:
        return Reading(parse_ranges(ranges.strip() or AUTO), self._options.megapixels)


def _scored(result: Result, *, slow: bool) -> Iterator[tuple[Scores, str]]:
    """Yields the table each time that it has grown, and what is computed next; the slow metrics come last."""
    pictures = {name: picture for name, picture in result.pictures.items() if name not in (SOURCE_A, SOURCE_B)}
    fitting = fitting_metrics(*result.sources.shape[1:], slow=slow)
    rounds = [[name for name in fitting if not is_slow(name)], *([name] for name in fitting if is_slow(name))]
    steps = [(name, metrics) for metrics in rounds for name in pictures]
    table: Scores = {name: {} for name in pictures}
    for (name, metrics), following in zip(steps, [*steps[1:], None], strict=True):
        table[name] |= score(pictures[name], result.sources, metrics)
        what = "" if following is None else following[0] + (f", {following[1][0]}" if is_slow(following[1][0]) else "")
        yield {picture: scores for picture, scores in table.items() if scores}, what


def _coming(what: str) -> str:
    return f'<div class="note" id="coming">scoring {html.escape(what)} …</div>' if what else ""


def _label(task: str, side: str) -> str:
    return f"{side}: {getattr(TASKS[task], side)}"


def _fault(text: str) -> str:
    return f'<div class="fault" role="alert">{"<br>".join(map(html.escape, text.splitlines()))}</div>'
