// Shows the picture of the step that the slider stands at; the button plays them all.
(() => {
  const part = document.getElementById("samples");
  const range = part && part.querySelector("input[type=range]");
  if (!range) return;
  const frames = [...part.querySelectorAll("img[data-step]")];
  const output = part.querySelector("output");
  const button = part.querySelector("button");
  let timer = null;
  const show = () => {
    frames.forEach((frame, index) => { frame.hidden = index !== Number(range.value); });
    output.textContent = "step " + frames[range.value].dataset.step;
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "▶"; button.ariaLabel = "play"; };
  range.addEventListener("input", () => { stop(); show(); });
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (Number(range.value) === frames.length - 1) range.value = 0;
    show();
    button.textContent = "❚❚";
    button.ariaLabel = "pause";
    timer = setInterval(() => {
      range.value = Number(range.value) + 1;
      show();
      if (Number(range.value) === frames.length - 1) stop();
    }, 350);
  });
})();
