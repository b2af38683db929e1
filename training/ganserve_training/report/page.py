"""Render the report of one run as an HTML page with everything inside."""

from html import escape

from ganserve_training.config import TrainConfig
from ganserve_training.config.serialisation import config_diff, flat_config
from ganserve_training.diagnosis.last_word import Episode, episodes
from ganserve_training.evaluation.table import Named, explanations, figures_table, labels_table
from ganserve_training.report.charts import KIND_COLOURS, charts
from ganserve_training.report.material import RunMaterial
from ganserve_training.report.parts import chart_figures, lines, page, picture, section, table, text_table, with_flags

_MOST_ROW_LABELS = 32


def render(run: RunMaterial) -> str:
    """Return the whole page."""
    drawers = (_header, _findings, _pictures, _charts, _metrics, _configuration, _environment)
    return page(run.name, (draw(run) for draw in drawers))


def state(run: RunMaterial) -> str:
    """Return how far a run is, in words."""
    words = f"step {run.step:,} of {run.config.steps:,}"
    if run.stopped:
        return f"{words}, stopped early because the quality had declined"
    return f"{words}, finished" if run.step >= run.config.steps else words


def last_words(run: RunMaterial) -> str:
    """Return the monitor's last word, and the sentence that sums up the evaluation."""
    word = "" if run.last_word is None else run.last_word.sentence
    healthy = None if run.last_word is None else run.last_word.healthy
    kind = {True: "good", False: "poor", None: "unjudged"}[healthy]
    summary = "" if run.evaluation is None else run.evaluation.summary
    if run.evaluation is not None and run.evaluation.step != run.step:
        summary = f"At step {run.evaluation.step:,}: {summary}"
    verdict = "unjudged" if run.evaluation is None else run.evaluation.verdict or "unjudged"
    return lines([word], f"word {kind}") + lines([summary], f"word {verdict}")


def _header(run: RunMaterial) -> str:
    config = run.config
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
    head = f'<h1>{escape(run.name)}</h1><p class="state">{escape(state(run))}</p>'
    return f"<header>{head}{last_words(run)}<dl>{items}</dl></header>\n"


def _findings(run: RunMaterial) -> str:
    told = episodes(run.findings)
    if not run.config.diagnosis.enabled and not told:
        return section("Diagnosis", "<p>Switched off for this run (--diagnosis.enabled).</p>")
    cures = "".join(f'<p class="advice">{with_flags(cure)}</p>' for cure in run.cures)
    if not told:
        looks = len(run.observations)
        return section("Diagnosis", f"{cures}<p>No findings: {looks} looks at the players found no problem.</p>")
    items = "".join(_finding(number, episode) for number, episode in enumerate(told, start=1))
    return section("Diagnosis", f'{cures}<ol class="findings">{items}</ol>')


def _finding(number: int, episode: Episode) -> str:
    begin, end = episode.finding, episode.end
    span = f"at step {begin.step:,}" if end is None else episode.span
    over = "" if end is None else f"<p>Over at step {end.step:,}: {escape(end.message)}</p>"
    return (
        f'<li><span class="badge" style="background:{KIND_COLOURS[begin.kind]}">{number}</span><div>'
        f"<h3>{escape(begin.kind.replace('-', ' '))} <small>{escape(span)}</small></h3>"
        f'<p>{escape(begin.message)}</p>{over}<p class="advice">{with_flags(begin.advice)}</p></div></li>'
    )


def _pictures(run: RunMaterial) -> str:
    if not run.pictures:
        return ""
    last = len(run.pictures) - 1
    images = "".join(
        picture(path, f"samples at step {step}", f' data-step="{step:,}"{"" if index == last else " hidden"}')
        for index, (step, path) in enumerate(run.pictures)
    )
    names = run.row_labels[:_MOST_ROW_LABELS]
    some = f" {len(run.pictures)} of {run.picture_count} pictures are shown."
    shown = some if run.picture_count > len(run.pictures) else ""
    slider = (
        f'<div class="slider"><button type="button" aria-label="play">▶</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="step">'
        f"<output>step {run.pictures[last][0]:,}</output></div>"
    )
    made = f'<figure class="frames"><figcaption>generated</figcaption>{images}</figure>'
    grid = f'<div class="grids">{row_labels(names)}<div class="side">{made}{real_picture(run)}</div></div>'
    what = "All samples" if run.is_image else "Generated points in blue over real ones in gray"
    what = "One row per label" if names else what
    text = f"<p>{what}, from the averaged generator and always the same latents.{shown}</p>"
    return section("Samples", f"{text}{slider if last else ''}{grid}", name="samples")


def row_labels(names: tuple[str, ...]) -> str:
    """Return labels that stand left of a grid, one for each row."""
    rows = "".join(f"<span>{escape(name)}</span>" for name in names)
    return f'<div class="rows" aria-hidden="true">{rows}</div>' if rows else ""


def real_picture(run: RunMaterial, caption: str = "real") -> str:
    """Return the picture of real samples; empty: an older version trained the run, or its samples are vectors."""
    if run.real_samples is None:
        return ""
    image = picture(run.real_samples, "real samples")
    return f'<figure class="frames"><figcaption>{escape(caption)}</figcaption>{image}</figure>'


def _charts(run: RunMaterial) -> str:
    drawn = charts(run)
    hint = "<p>Numbers on the curves refer to the findings above.</p>" if run.findings else ""
    return section("Curves", f"{hint}{chart_figures(drawn)}") if drawn else ""


def _metrics(run: RunMaterial) -> str:
    evaluation = run.evaluation
    if evaluation is None:
        text = "<p>Not evaluated yet: <code>ganserve evaluate</code> measures how good the samples are.</p>"
        return section("Metrics", text)
    where = f"<p>{evaluation.samples:,} samples of the checkpoint of step {evaluation.step:,}. "
    summary = f"{escape(evaluation.summary)}</p>"
    labels = table(labels_table(evaluation)) if evaluation.by_label else ""
    labels = f"<details open><summary>By label</summary>{labels}</details>" if labels else ""
    figures = table(figures_table([Named(run.name, evaluation)]))
    return section("Metrics", f"{where}{summary}{figures}{labels}{lines(explanations(evaluation))}", name="metrics")


def _configuration(run: RunMaterial) -> str:
    changed = [line.split(": ", 1) for line in config_diff(TrainConfig(), run.config)]
    rows = [(name, *values.split(" -> ", 1)) for name, values in changed]
    differing = text_table(rows, ("option", "default", "this run")) if rows else "<p>All defaults.</p>"
    everything = text_table(
        [(name, repr(value)) for name, value in flat_config(run.config).items()], ("option", "value")
    )
    as_asked = " As they were asked for: the run changed some, as the diagnosis says." if run.cures else ""
    return section(
        "Configuration",
        f"<p>Options that differ from the defaults.{as_asked}</p>{differing}"
        f"<details><summary>The full configuration</summary>{everything}</details>",
    )


def _environment(run: RunMaterial) -> str:
    rows = list(run.environment.items())
    return section("Environment", text_table(rows, ("part", "version"))) if rows else ""
