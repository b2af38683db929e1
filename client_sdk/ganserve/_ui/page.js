// What the page does without asking the server.
window.ganservePage = {
  // Samples can be picked: the last one is where a walk ends (B), the one before it where it starts (A).
  pickable(element, trigger, event) {
    const mark = (tile, pick) => {
      tile.dataset.pick = pick;
      tile.setAttribute("aria-pressed", String(pick !== ""));
    };
    element.addEventListener("click", ({ target }) => {
      const tile = target.closest(".gs-tile");
      if (!tile || tile.dataset.pick === "to") return;
      const tiles = [...element.querySelectorAll(".gs-tile")];
      const last = tiles.find((each) => each.dataset.pick === "to");
      tiles.forEach((each) => mark(each, ""));
      if (last) mark(last, "from");
      mark(tile, "to");
      trigger(event);
    });
  },

  // On a phone, the button shows and hides the options of the form.
  toggling(element) {
    element.querySelector("button").addEventListener("click", ({ currentTarget }) => {
      const open = document.getElementById("gs-options").classList.toggle("gs-open");
      currentTarget.setAttribute("aria-expanded", String(open));
    });
  },

  // The places of the two samples that are picked: where a walk starts, and where it ends.
  ends() {
    const place = (pick) => document.querySelector(`#gs-grid .gs-tile[data-pick="${pick}"]`)?.dataset.place;
    const to = place("to");
    return [Number(place("from") ?? to), Number(to)];
  },

  // Shows a step of the walk.
  showStep(step) {
    const way = document.getElementById("gs-way");
    way.querySelectorAll("[data-step]").forEach((each) => {
      each.classList.toggle("gs-on", Number(each.dataset.step) === step);
    });
    const frame = way.querySelector(`.gs-frame[data-step="${step}"]`);
    const large = way.querySelector(".gs-large");
    if (frame && large) large.innerHTML = frame.innerHTML;
  },

  // Downloads the file that the server has written, once its link is on the page.
  fetchFile() {
    requestAnimationFrame(() => document.querySelector("a#gs-file, #gs-file a, #gs-file button, button#gs-file")?.click());
  },
};

// Gradio reopens a list on the Tab key that leaves it, and the list then covers the next field.
document.addEventListener(
  "keydown",
  (event) => {
    if (event.key === "Tab" && event.target.matches?.('[role="combobox"]')) event.stopPropagation();
  },
  true,
);
