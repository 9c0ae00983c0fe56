// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// The page of one annotation, which the page holds.
const data = JSON.parse(document.getElementById("data").textContent);

audio.addEventListener("error", () => {
  const problem = document.getElementById("problem");
  problem.textContent = "This browser cannot play the recording. " +
    (data.linked ? "It must lie where it was when this page was written, in a format that browsers play." : "");
  problem.hidden = false;
});

const strip = new Image();
strip.onload = () => showPictures({ image: strip, from: 0, to: duration });
strip.src = data.spectrogram;
showAnnotation(data, Uint8Array.from(atob(data.heat.scores), (letter) => letter.charCodeAt(0)));
