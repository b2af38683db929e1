"""Render a report as one HTML page with everything inside."""

import base64
import re
from collections.abc import Sequence
from html import escape
from importlib import resources

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from ganserve_training.config import TrainConfig
from ganserve_training.config.serialisation import config_diff, flat_config
from ganserve_training.report.charts import KIND_COLOURS, charts
from ganserve_training.report.material import RunMaterial

_PLOT_OPTIONS = {"responsive": True, "displayModeBar": False, "scrollZoom": False}
_MOST_ROW_LABELS = 32
_FLAG = re.compile(r"--[a-z][\w.-]*\w(?: (?:\d[\d.]*(?<!\.)|[a-z]+-[a-z]+)(?!\w))?")


def render(run: RunMaterial) -> str:
    """Return the whole page."""
    files = resources.files("ganserve_training.report")
    style, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "slider.js"))
    drawers = (_header, _findings, _pictures, _charts, _metrics, _configuration, _environment)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(run.name)} - ganserve report</title>
<style>
{style}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
{"".join(draw(run) for draw in drawers)}
</main>
<script>
{script}</script>
</body>
</html>
"""


def _header(run: RunMaterial) -> str:
    config, step = run.config, run.step
    state = f"step {step:,} of {config.steps:,}"
    if run.stopped:
        state += ", stopped early because the quality had declined"
    elif step >= config.steps:
        state += ", finished"
    facts = [
        ("data", config.data.source),
        ("networks", config.networks.architecture),
        ("loss", config.loss.name),
        ("batch", str(config.batch_size)),
    ]
    if run.log:
        last = run.log[-1]
        facts += [
            ("samples seen", f"{last['samples_seen']:,.0f}"),
            ("speed", f"{last['samples_per_second']:,.0f} samples/s"),
        ]
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<header><h1>{escape(run.name)}</h1><p class="state">{escape(state)}</p><dl>{items}</dl></header>\n'


def _findings(run: RunMaterial) -> str:
    if not run.config.diagnosis.enabled and not run.findings:
        return _section("Diagnosis", "<p>Switched off for this run (--diagnosis.enabled).</p>")
    if not run.findings:
        looks = len(run.observations)
        return _section("Diagnosis", f"<p>No findings: {looks} looks at the players found no problem.</p>")
    items = "".join(
        f'<li><span class="badge" style="background:{KIND_COLOURS[item.kind]}">{number}</span><div>'
        f"<h3>{escape(item.kind.replace('-', ' '))} <small>at step {item.step:,}</small></h3>"
        f'<p>{escape(item.message)}</p><p class="advice">{_with_flags(item.advice)}</p></div></li>'
        for number, item in enumerate(run.findings, start=1)
    )
    return _section("Diagnosis", f'<ol class="findings">{items}</ol>')


def _with_flags(text: str) -> str:
    """Escape a text, and set flags with their values in a fixed-width font."""
    return _FLAG.sub(lambda match: f"<code>{match[0]}</code>", escape(text))


def _pictures(run: RunMaterial) -> str:
    if not run.pictures:
        return ""
    last = len(run.pictures) - 1
    images = "".join(
        f'<img alt="samples at step {step}" data-step="{step:,}"{"" if index == last else " hidden"} '
        f'src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        for index, (step, path) in enumerate(run.pictures)
    )
    names = run.row_labels[:_MOST_ROW_LABELS]
    rows = "".join(f"<span>{escape(name)}</span>" for name in names)
    labels = f'<div class="rows" aria-hidden="true">{rows}</div>' if rows else ""
    some = f" {len(run.pictures)} of {run.picture_count} pictures are shown."
    shown = some if run.picture_count > len(run.pictures) else ""
    slider = (
        f'<div class="slider"><button type="button" aria-label="play">▶</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="step">'
        f"<output>step {run.pictures[last][0]:,}</output></div>"
    )
    grid = f'<div class="grid">{labels}<div class="frames">{images}</div></div>'
    what = "All samples" if run.is_image else "Generated points in blue over real ones in gray"
    what = "One row per label" if rows else what
    text = f"<p>{what}, from the averaged generator and always the same latents.{shown}</p>"
    return _section("Samples", f"{text}{slider if last else ''}{grid}", name="samples")


def _charts(run: RunMaterial) -> str:
    options = {"full_html": False, "include_plotlyjs": False, "config": _PLOT_OPTIONS, "default_width": "100%"}
    parts = "".join(
        f"<figure><h3>{escape(chart.title)}</h3><figcaption>{escape(chart.hint)}</figcaption>"
        f"{chart.figure.to_html(**options)}</figure>"
        for chart in charts(run)
    )
    hint = "<p>Numbers on the curves refer to the findings above.</p>" if run.findings else ""
    return _section("Curves", f'{hint}<div class="charts">{parts}</div>') if parts else ""


def _metrics(run: RunMaterial) -> str:
    if not run.metrics:
        text = "<p>Not evaluated yet: <code>ganserve evaluate</code> measures how good the samples are.</p>"
        return _section("Metrics", text)
    rows = [(name.replace("_", " "), f"{value:.4g}") for name, value in run.metrics.items()]
    return _section("Metrics", f"<p>Measured on the checkpoint of step {run.evaluated_step:,}.</p>{_table(rows)}")


def _configuration(run: RunMaterial) -> str:
    changed = [line.split(": ", 1) for line in config_diff(TrainConfig(), run.config)]
    rows = [(name, *values.split(" -> ", 1)) for name, values in changed]
    differing = _table(rows, ("option", "default", "this run")) if rows else "<p>All defaults.</p>"
    everything = _table([(name, repr(value)) for name, value in flat_config(run.config).items()])
    return _section(
        "Configuration",
        f"<p>Options that differ from the defaults.</p>{differing}"
        f"<details><summary>The full configuration</summary>{everything}</details>",
    )


def _environment(run: RunMaterial) -> str:
    return _section("Environment", _table(list(run.environment.items()))) if run.environment else ""


def _section(title: str, content: str, name: str = "") -> str:
    attribute = f' id="{name}"' if name else ""
    return f"<section{attribute}><h2>{escape(title)}</h2>{content}</section>\n"


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = ()) -> str:
    top = "<thead><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr></thead>" if head else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table"><table>{top}<tbody>{body}</tbody></table></div>'
