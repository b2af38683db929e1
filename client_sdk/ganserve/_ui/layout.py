"""Lay out the page, and connect its events to actions."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr

from ganserve import Client, GanserveError, InvalidRequest, Marking, ModelInfo
from ganserve._results.picture_reading import ENDINGS
from ganserve._ui import actions, downloads, markup, tiles
from ganserve._ui.actions import ANY_LABEL, Drawn, Wish
from ganserve._ui.style_form import StyleForm

Updates: TypeAlias = dict[Any, Any]
"""The components of the page that change, with their new values."""

CSS = files("ganserve._ui").joinpath("page.css").read_text(encoding="utf-8")
SCRIPT = files("ganserve._ui").joinpath("page.js").read_text(encoding="utf-8")

_KINDS: dict[downloads.Kind, str] = {"png": "Grid PNG", "zip": "PNGs, zip", "npz": "NumPy, npz", "csv": "Table, csv"}
# On phones the options are folded away, so that pictures are on the first screen.
_OPTIONS = '<button type="button" aria-expanded="false" aria-controls="gs-options">Label, number, seed …</button>'
_NO_WALK = "Draw samples, pick two of them, and walk from one to the other."
_NO_PICTURE = "Drop a picture, or a grid that ganserve wrote, to see the critic's score."
_NO_SAMPLES = "No samples yet: choose a model and press Draw."


class Page:
    """The components of the page and their actions.

    For each visitor it keeps the model and the last samples. An error changes only the status line.
    """

    def __init__(self, client: Client, folder: Path, mark: Marking = True) -> None:
        """Lay out the page; downloads go to `folder`, and `mark` is how pictures are marked."""
        self._client, self._folder, self._mark = client, folder, mark
        # delete_cache: seconds between clean-ups, and the age from which they delete downloads.
        with gr.Blocks(title="ganserve", analytics_enabled=False, delete_cache=(3600, 3600)) as self.blocks:
            self._info, self._drawn = gr.State(None), gr.State(None)
            _html(f"<header><h1>ganserve</h1><p>{markup.text(client.target)}</p></header>", elem_id="gs-header")
            with gr.Row(elem_id="gs-page"):
                with gr.Column(scale=1, min_width=280, elem_id="gs-form"):
                    self._lay_out_form()
                with gr.Column(scale=3, min_width=320, elem_id="gs-results"):
                    self._status = _html(markup.said("connecting …"), elem_id="gs-status")
                    with gr.Tabs(elem_id="gs-tabs"):
                        with gr.Tab("Samples"):
                            self._lay_out_samples()
                        with gr.Tab("Walk") as self._walk_tab:
                            self._lay_out_walk()
                        with gr.Tab("Score"):
                            self._lay_out_score()
                        with gr.Tab("Model"):
                            self._facts = _html(markup.empty("No model."), elem_id="gs-facts")
            self._wire()

    def _lay_out_form(self) -> None:
        with gr.Row(elem_id="gs-model-row"):
            self._model = gr.Dropdown([], label="Model", elem_id="gs-model", scale=1, min_width=120)
            self._reload = gr.Button("Reload", size="sm", elem_id="gs-reload", scale=0, min_width=72)
        _html(_OPTIONS, elem_id="gs-toggle", js_on_load="ganservePage.toggling(element)")
        with gr.Column(elem_id="gs-options"):
            self._lay_out_options()
        self._draw = gr.Button("Draw", variant="primary", size="lg", elem_id="gs-draw")

    def _lay_out_options(self) -> None:
        self._label = gr.Dropdown(
            [("any", ANY_LABEL)], value=ANY_LABEL, label="Label", visible=False, elem_id="gs-label"
        )
        self._count = gr.Slider(1, actions.MOST_SAMPLES, 36, step=1, label="How many", elem_id="gs-count")
        with gr.Row(elem_id="gs-seed-row"):
            self._seed = gr.Textbox(
                label="Seed", placeholder="random", max_lines=1, elem_id="gs-seed", scale=1, min_width=120
            )
            self._keep = gr.Button("Keep", size="sm", elem_id="gs-keep", scale=0, min_width=72, interactive=False)
        self._truncation = gr.Textbox(
            label="Truncation",
            placeholder="none",
            max_lines=1,
            elem_id="gs-truncation",
            info="Lower: more typical. Try 0.7.",
        )
        self._style = StyleForm()
        self._choosing = gr.Radio(
            ["none", "best of N", "rejection"],
            value="none",
            label="Let the critic choose",
            visible=False,
            elem_id="gs-choosing",
        )
        self._proposals = gr.Slider(
            1, 64, 8, step=1, label="N, drawn for each that is shown", visible=False, elem_id="gs-proposals"
        )

    def _lay_out_samples(self) -> None:
        with gr.Row(elem_id="gs-tools"):
            self._order = gr.Radio(
                ["as drawn", "best first", "worst first"],
                value="as drawn",
                label="Order by critic's score",
                info="Samples of several labels: within each.",
                visible=False,
                elem_id="gs-order",
                scale=2,
            )
            with gr.Row(elem_id="gs-downloads"):
                self._downloads: dict[downloads.Kind, Any] = {
                    kind: gr.Button(
                        text,
                        size="sm",
                        elem_id=f"gs-download-{kind}",
                        min_width=80,
                        interactive=False,
                        visible=kind != "csv",
                    )
                    for kind, text in _KINDS.items()
                }
        self._legend = _html("", elem_id="gs-legend")
        self._grid = _html(
            markup.empty(_NO_SAMPLES), elem_id="gs-grid", js_on_load="ganservePage.pickable(element, trigger, 'pick')"
        )
        # The script presses this button when the server has written the file.
        self._file = gr.DownloadButton(visible="hidden", elem_id="gs-file")

    def _lay_out_walk(self) -> None:
        with gr.Row(elem_id="gs-walk-tools"):
            self._from = gr.Number(0, precision=0, label="From sample (A)", elem_id="gs-from", min_width=110)
            self._to = gr.Number(1, precision=0, label="To sample (B)", elem_id="gs-to", min_width=110)
            self._steps = gr.Slider(2, 33, 9, step=1, label="Steps", elem_id="gs-steps", min_width=180)
            self._walk = gr.Button("Walk", variant="primary", elem_id="gs-walk", min_width=90)
        self._position = gr.Slider(0, 8, 0, step=1, label="Where on the way", visible=False, elem_id="gs-position")
        self._way = _html(markup.empty(_NO_WALK), elem_id="gs-way")

    def _lay_out_score(self) -> None:
        with gr.Row(elem_id="gs-score-tools"):
            self._picture = gr.File(
                label="Picture",
                file_types=list(ENDINGS),
                height=140,
                elem_id="gs-picture",
                scale=2,
                min_width=240,
            )
            with gr.Column(scale=1, min_width=200):
                self._scored_label = gr.Dropdown(
                    [("each", ANY_LABEL)], value=ANY_LABEL, label="As label", visible=False, elem_id="gs-scored-label"
                )
                self._fit = gr.Checkbox(False, label=actions.FIT, elem_id="gs-fit")
        self._verdict = _html(markup.empty(_NO_PICTURE), elem_id="gs-verdict")

    def _wire(self) -> None:
        form = [self._count, self._seed, self._truncation, self._choosing, self._proposals]
        chosen = [self._info, self._model, self._label, self._count, self._choosing, self._proposals]
        chosen += [self._scored_label, self._facts, self._truncation, self._style.mix_row, *self._style.components]
        shown = [self._drawn, self._status, self._legend, self._grid, self._order, self._from, self._to, self._keep]
        shown += [*self._downloads.values(), self._position, self._way]
        for start in (self.blocks.load, self._reload.click):
            _on(start, self._list_models, [self._model, *form], [*chosen, *shown], busy=self._grid)
        _on(self._model.input, self._switch, [self._info, self._model, *form], [*chosen, *shown], busy=self._grid)
        drawing = [self._info, self._label, *form, *self._style.components]
        for start in (self._draw.click, self._seed.submit, self._truncation.submit, self._style.mix_seed.submit):
            _on(start, self._draw_samples, drawing, shown, busy=self._grid)
        _on(self._choosing.change, _offer_proposals, [self._choosing], [self._proposals])
        _on(self._keep.click, _kept_seed, [self._drawn], [self._seed])

        ends = [self._from, self._to]
        _on(self._order.input, self._sort, [self._drawn, self._order, *ends], [self._grid])
        self._grid.pick(fn=None, outputs=ends, js="() => ganservePage.ends()", api_visibility="private")
        for kind, button in self._downloads.items():
            writing = _on(button.click, self._writer(kind), [self._drawn], [self._file, self._status])
            writing.then(fn=None, js="() => ganservePage.fetchFile()", show_progress="hidden", api_visibility="private")

        walked = [self._status, self._position, self._way]
        for start in (self._walk.click, self._walk_tab.select, self._from.submit, self._to.submit):
            _on(start, self._walk_between, [self._info, self._drawn, *ends, self._steps], walked, busy=self._way)
        self._position.change(
            fn=None, inputs=[self._position], js="(step) => ganservePage.showStep(step)", api_visibility="private"
        )
        judged = [self._info, self._picture, self._scored_label, self._fit]
        for start in (self._picture.change, self._scored_label.input, self._fit.input):
            _on(start, self._score_picture, judged, [self._status, self._verdict], busy=self._verdict)

    def _list_models(self, key: str | None, *form: Any) -> Updates:
        """List the server's models; the chosen model stays if it is still there."""
        try:
            models = actions.served_models(self._client)
        except GanserveError as error:
            return {self._status: markup.refused(error)}
        if not models:
            nothing = markup.said(f"{self._client.target} serves no model that is ready: reload when it does")
            return {self._status: nothing, self._model: gr.update(choices=[], value=None), self._info: None}
        if key not in [model.key for model in models]:
            key = models[0].key
        choices = [(str(model), model.key) for model in models]
        return self._choose(key, *form) | {self._model: gr.update(choices=choices, value=key)}

    def _switch(self, info: ModelInfo | None, key: str | None, *form: Any) -> Updates:
        """Change the model, if another was chosen: leaving the list unchanged is an event, too."""
        if key is None or (info is not None and key == f"{info.name}/{info.version}"):
            return {}
        return self._choose(key, *form)

    def _choose(self, key: str, count: int, seed: str, truncation: str, *_: Any) -> Updates:
        """Change the model: adapt the form, and draw its first samples."""
        try:
            info = actions.describe(self._client, key)
        except GanserveError as error:
            return {self._status: markup.refused(error)}
        names = [(name, i) for i, name in enumerate(info.label_names)]
        most = actions.most_samples(info)
        count = min(count, most)
        updates: Updates = {
            self._info: info,
            self._label: gr.update(choices=[("any", ANY_LABEL), *names], value=ANY_LABEL, visible=info.conditional),
            self._scored_label: gr.update(
                choices=[("each", ANY_LABEL), *names], value=ANY_LABEL, visible=info.critic_takes_labels and bool(names)
            ),
            self._count: gr.update(maximum=most, value=count),
            self._choosing: gr.update(value="none", visible=info.critic is not None),
            self._proposals: gr.update(visible=False),
            self._facts: markup.facts(info),
            self._truncation: gr.update(visible=info.style is None),
            **self._style.updates(info),
        }
        first = actions.first_values(info)
        return updates | self._draw_samples(info, ANY_LABEL, count, seed, truncation, "none", 8, *first)

    def _draw_samples(
        self,
        info: ModelInfo | None,
        label: int,
        count: int,
        seed: str,
        truncation: str,
        choosing: actions.Choosing,
        proposals: int,
        *styled: Any,
    ) -> Updates:
        wish = Wish(label=label, count=count, seed=seed, truncation=truncation, choosing=choosing, proposals=proposals)
        try:
            wish = replace(wish, **actions.style_wish(info := _known(info), *styled))
            result = actions.draw(self._client, info, wish)
        except GanserveError as error:
            return {self._status: markup.refused(error)}
        batch, ends = result.batch, (0, min(1, len(result.batch) - 1))
        pictures = batch.samples.ndim == 4
        return {
            self._drawn: result,
            self._status: markup.drawn(result),
            self._legend: markup.legend(info, result),
            self._grid: tiles.tiles(batch, actions.order(result, "as drawn"), ends, marked=self._mark is not False),
            self._order: gr.update(value="as drawn", visible=batch.scores is not None),
            self._from: ends[0],
            self._to: ends[1],
            self._keep: gr.update(interactive=True),
            **{
                button: gr.update(interactive=pictures or kind in ("npz", "csv"), visible=kind != "csv" or not pictures)
                for kind, button in self._downloads.items()
            },
            self._position: gr.update(visible=False),
            self._way: markup.empty(_NO_WALK),
        }

    def _sort(self, drawn: Drawn | None, order: Any, start: int | None, stop: int | None) -> Updates:
        if drawn is None:
            return {}
        ends = (-1 if start is None else start, -1 if stop is None else stop)
        return {self._grid: tiles.tiles(drawn.batch, actions.order(drawn, order), ends, marked=self._mark is not False)}

    def _writer(self, kind: downloads.Kind) -> Any:
        def write(drawn: Drawn | None) -> Updates:
            try:
                file = downloads.write(_something(drawn).batch, kind, self._folder, self._mark)
            except (GanserveError, OSError) as error:
                return {self._file: None, self._status: markup.refused(error)}
            return {self._file: str(file)}

        return write

    def _walk_between(
        self, info: ModelInfo | None, drawn: Drawn | None, start: int | None, stop: int | None, steps: int
    ) -> Updates:
        if drawn is None:
            return {self._way: markup.empty(_NO_WALK)}
        try:
            ends = _end(start, "from"), _end(stop, "to")
            result = actions.walk(self._client, _known(info), drawn, ends, steps)
        except GanserveError as error:
            return {self._status: markup.refused(error)}
        return {
            self._status: markup.walked(result, ends),
            self._position: gr.update(maximum=steps - 1, value=0, visible=True),
            self._way: tiles.steps(result.batch, marked=self._mark is not False),
        }

    def _score_picture(self, info: ModelInfo | None, file: str | None, label: int, fit: bool) -> Updates:
        if file is None:
            return {self._verdict: markup.empty(_NO_PICTURE)}
        try:
            result = actions.score(self._client, _known(info), file, label, fit=fit)
        except GanserveError as error:
            return {self._status: markup.refused(error), self._verdict: markup.empty(_NO_PICTURE)}
        return {self._status: markup.score_facts(result), self._verdict: markup.scored(result)}


def _html(value: str, **options: Any) -> Any:
    """Make HTML in our own style; Gradio's is for running text."""
    return gr.HTML(value, apply_default_css=False, **options)


def _on(event: Any, act: Any, inputs: list[Any], outputs: list[Any], *, busy: Any = None) -> Any:
    """Connect an action to an event, without making it part of an API."""
    return event(
        act,
        inputs,
        outputs,
        show_progress="hidden" if busy is None else "full",
        show_progress_on=busy,
        api_visibility="private",
        concurrency_limit=None,
    )


def _offer_proposals(choosing: actions.Choosing) -> Any:
    return gr.update(visible=choosing != "none")


def _kept_seed(drawn: Drawn | None) -> Any:
    return gr.skip() if drawn is None else str(drawn.batch.seed)


def _known(info: ModelInfo | None) -> ModelInfo:
    if info is None:
        raise InvalidRequest.of("model", "is not chosen; press Reload to see what the server has")
    return info


def _something(drawn: Drawn | None) -> Drawn:
    if drawn is None:
        raise InvalidRequest.of("samples", "are not drawn yet; press Draw")
    return drawn


def _end(place: int | None, name: str) -> int:
    if place is None:
        raise InvalidRequest.of(name, "is empty; expected a sample's number")
    return int(place)
