"""Show the options of style-based generators: a slider for truncation in W, style mixing and noise."""

from typing import Any

import gradio as gr

from ganserve import ModelInfo


class StyleForm:
    """The components, which are visible for such models only; `components` has them in the order of `values`."""

    def __init__(self) -> None:
        """Lay them out."""
        self.psi = gr.Slider(
            0, 1, 1, step=0.05, label="Truncation (psi)", info="Lower: more typical.", visible=False, elem_id="gs-psi"
        )
        self.noise = gr.Radio(["seeded"], value="seeded", label="Noise", visible=False, elem_id="gs-noise")
        with gr.Row(visible=False, elem_id="gs-mix-row") as self.mix_row:
            self.mix_seed = gr.Textbox(
                label="Mix with seed", placeholder="none", max_lines=1, elem_id="gs-mix-seed", min_width=120
            )
            self.mix_from = gr.Slider(1, 2, 1, step=1, label="from layer", elem_id="gs-mix-from", min_width=120)
        self.components = [self.psi, self.noise, self.mix_seed, self.mix_from]

    def updates(self, info: ModelInfo) -> dict[Any, Any]:
        """Return the changes of the components for another model."""
        style = info.style
        if style is None:
            return {part: gr.update(visible=False) for part in (self.psi, self.noise, self.mix_row)}
        mixes = style.w_dimension > 0 and style.layers > 1
        return {
            self.psi: gr.update(visible=True, value=style.default_truncation),
            self.noise: gr.update(
                choices=list(style.noise_modes),
                value=style.noise_modes[0] if style.noise_modes else None,
                visible=len(style.noise_modes) > 1,
            ),
            self.mix_row: gr.update(visible=mixes),
            self.mix_seed: "",
            self.mix_from: gr.update(maximum=max(2, style.layers - 1), value=max(1, style.layers // 2)),
        }
