// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// The page: takes a file or the microphone, and shows what the model hears. timeline_view.js draws the timeline.

import { Caller } from "./calls.js";
import { Microphone } from "./microphone.js";
import { eventRows, eventsCsv } from "./overview.js";
import { openRecording } from "./recordings.js";

const BLOCK_SECONDS = 5;
const SHOW_EVERY = 1000; // milliseconds between two pictures of what was found so far
const MOST_MEANS = 5;
const MOST_DETAIL = 300; // seconds; the spectrogram of a part that is not longer is computed anew
const MOST_BEHIND = 10; // seconds that a slow device may be behind a microphone before it leaves out the live labels

const element = (id) => document.getElementById(id);
const [drop, input, microphoneButton, cancel, result] = ["drop", "file", "microphone", "cancel", "result"].map(element);
const model = new Caller(new URL("worker.js", import.meta.url), ({ share }) => showStatus("The model is loading", share));
const painter = new Caller(new URL("picture_worker.js", import.meta.url));

let settings = null;
let current = null; // the recording that is shown: {name, rate, duration, read, events, found}
let run = 0; // the number of the last run; one with another number has been cancelled
let microphone = null;

async function load() {
  const response = await fetch("polyaudio_export.json");
  if (!response.ok) throw new Error(`The page cannot load polyaudio_export.json: status ${response.status}.`);
  settings = await response.json();
  await model.call("load", settings);
  input.disabled = microphoneButton.disabled = false;
  showStatus("Ready");
}

function showStatus(text, share = null) {
  element("activity").textContent = share === null ? text : `${text}: ${Math.floor(100 * share)} %`;
  element("progress").hidden = share === null;
  if (share !== null) element("progress").value = share;
}

function showProblem(error) {
  element("problem").textContent = error.message;
  element("problem").hidden = false;
}

async function attempt(action) {
  element("problem").hidden = true;
  const done = action();
  const own = run;
  try {
    await done;
  } catch (error) {
    if (own !== run) return; // of what was cancelled
    stopMicrophone();
    showProblem(error);
    showStatus(input.disabled ? "The model could not be loaded" : "Ready");
  }
}

/** Listen to a file from its beginning to its end, unless it is cancelled. */
async function listenToFile(file) {
  const own = ++run;
  stopMicrophone();
  showStatus(`${file.name} is opened`);
  const opened = await openRecording(file, settings.sampling_rate);
  if (own !== run) return;
  const recording = begin(opened);
  await model.call("begin", recording.rate);
  cancel.hidden = false;
  try {
    const block = Math.round(BLOCK_SECONDS * recording.rate);
    for (let start = 0, shown = 0; start < recording.frames; start += block) {
      const samples = await recording.read(start, Math.min(start + block, recording.frames));
      recording.events.push(...(await model.call("push", samples, [samples.buffer])));
      if (own !== run) return;
      const heard = Math.min(1, (start + block) / recording.frames);
      showStatus(`The model listens to ${format(recording.duration)}`, heard);
      if (performance.now() - shown < SHOW_EVERY) continue;
      await showFound();
      shown = performance.now();
    }
    recording.events.push(...(await model.call("finish", recording.duration)));
    if (own !== run) return;
    await showFound();
    showStatus("Done");
  } finally {
    if (own === run) cancel.hidden = true;
  }
}

/** Show a new recording, of which nothing is known yet. */
function begin(opened) {
  current = { ...opened, events: [], found: null, strip: null };
  element("name").textContent = current.name;
  element("means-heading").textContent = "Labels";
  element("means").replaceChildren();
  offer(current);
  result.hidden = false;
  showPictures();
  const heat = { labels: [], columns: 0, column_seconds: 1 };
  const { duration } = current;
  showAnnotation({ duration, labels: settings.labels, events: [], rows: [], heat, gaps: [] }, new Uint8ClampedArray(0));
  show(0, duration);
  return current;
}

/** Let a person play a recording that has a file. */
function offer({ file }) {
  URL.revokeObjectURL(audio.src);
  audio.hidden = !file;
  if (file) audio.src = URL.createObjectURL(file);
  else audio.removeAttribute("src");
}

/** Show what the model has found in the current recording so far. */
async function showFound() {
  const recording = current;
  const found = await model.call("found");
  if (recording !== current) return;
  recording.found = found;
  recording.events.sort((one, other) => one.onset - other.onset || one.offset - other.offset || one.label - other.label);
  const content = {
    duration: recording.duration,
    labels: settings.labels,
    events: recording.events.map(({ onset, offset, label, score }) => [onset, offset, label, score]),
    ...eventRows(recording.events),
    heat: found.heat,
    gaps: [],
  };
  const { spectrogram } = found;
  recording.strip = { image: picture(spectrogram), from: 0, to: spectrogram.seconds };
  showAnnotation(content, Uint8ClampedArray.from(found.scores, (score) => 255 * score));
  if (!microphone) showMeans("Labels, by their mean scores over the recording", found.means);
}

function showMeans(heading, scores) {
  element("means-heading").textContent = heading;
  const leading = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, MOST_MEANS);
  element("means").replaceChildren(...leading.map((label) => {
    const row = document.createElement("li");
    const text = (content) => Object.assign(document.createElement("span"), { textContent: content });
    const bar = Object.assign(document.createElement("meter"), { value: scores[label] });
    row.append(text(settings.labels[label]), bar, text(`${(100 * scores[label]).toFixed(1)} %`));
    return row;
  }));
}

/** An image of a spectrogram: bytes (columns, bins), the lowest bin at the bottom. */
function picture({ values, columns, bins }) {
  const image = Object.assign(document.createElement("canvas"), { width: Math.max(1, columns), height: bins });
  const context = image.getContext("2d");
  const pixels = context.createImageData(image.width, bins);
  for (let column = 0; column < columns; column++) {
    for (let bin = 0; bin < bins; bin++) {
      pixels.data.set(COLOURS[values[column * bins + bin]], 4 * ((bins - 1 - bin) * image.width + column));
    }
  }
  context.putImageData(pixels, 0, 0);
  return image;
}

// From black over purple and orange to a light yellow
const STOPS = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
const COLOURS = Array.from({ length: 256 }, (_, value) => {
  const place = (value / 255) * (STOPS.length - 1);
  const index = Math.min(Math.floor(place), STOPS.length - 2);
  const mixed = STOPS[index].map((one, channel) => one + (place - index) * (STOPS[index + 1][channel] - one));
  return [...mixed, 255];
});

let [detail, detailTimer] = [null, 0];
timeline.addEventListener("show", () => {
  if (!current?.strip) return;
  if (detail?.recording !== current) detail = null;
  showPictures(...[current.strip, detail].filter(Boolean));
  clearTimeout(detailTimer);
  if (current.read && span <= MOST_DETAIL) detailTimer = setTimeout(showDetail, 150);
});

/** Show the spectrogram of the part that is shown, with a column for each pixel. */
async function showDetail() {
  const [recording, from, to] = [current, start, Math.min(start + span, current.duration)];
  const { rate } = recording;
  const half = 2 ** Math.round(Math.log2(0.064 * rate)) / 2; // of a frame of the spectrogram
  const [first, stop] = [Math.round(from * rate), Math.round(to * rate)];
  const before = Math.min(half, first);
  const part = await recording.read(first - before, stop + half);
  const samples = new Float32Array(stop - first + 2 * half);
  samples.set(part.subarray(0, samples.length - half + before), half - before);
  const columns = Math.max(1, Math.min(Math.round(width()), stop - first));
  const { loudest } = recording.found.spectrogram;
  const values = await painter.call("picture", { samples, rate, columns, loudest }, [samples.buffer]);
  if (recording !== current) return;
  detail = { image: picture(values), from, to, recording };
  showPictures(current.strip, detail);
}

/** Listen to the microphone until it is stopped; then the sound becomes a recording. */
async function listenToMicrophone() {
  const own = ++run;
  cancel.hidden = true;
  const open = await Microphone.open();
  microphone = open;
  showMicrophone();
  const { rate } = open;
  const recording = begin({ name: "Microphone", rate, duration: 0 });
  await model.call("begin", rate);
  try {
    await hearUntilStopped(open, recording);
  } finally {
    await open.close();
  }
  if (own !== run) return;
  await hear(open, recording);
  if (!recording.duration) throw new Error("The microphone gave no sound.");
  recording.events.push(...(await model.call("finish", recording.duration)));
  if (own !== run) return;
  Object.assign(recording, await openRecording(open.file(), settings.sampling_rate));
  offer(recording);
  await showFound();
  showStatus("Done");
}

async function hearUntilStopped(open, recording) {
  const { rate } = open;
  let [shown, listened, pause] = [0, 0, 0];
  while (microphone === open) {
    await hear(open, recording);
    const behind = open.waiting / rate;
    const late = behind > 2 ? `. This device is ${Math.round(behind)} s behind.` : "";
    showStatus(`The model listens: ${format(recording.duration)}${late}`);
    // The model answers about what was just heard for at most half of the time
    const isNew = recording.duration > 0 && microphone === open;
    if (isNew && performance.now() - listened > pause && behind < MOST_BEHIND) {
      const before = performance.now();
      showMeans("Labels now", await model.call("listen"));
      listened = performance.now();
      pause = Math.max(500, listened - before);
    }
    if (isNew && performance.now() - shown > SHOW_EVERY) {
      await showFound();
      shown = performance.now();
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function hear(open, recording) {
  const samples = open.take();
  if (!samples.length) return;
  recording.duration += samples.length / recording.rate;
  recording.events.push(...(await model.call("push", samples, [samples.buffer])));
}

function stopMicrophone() {
  microphone = null;
  showMicrophone();
}

function showMicrophone() {
  microphoneButton.textContent = microphone ? "Stop the microphone" : "Use the microphone";
  microphoneButton.setAttribute("aria-pressed", Boolean(microphone));
}

function choose(file) {
  if (file && settings && !input.disabled) attempt(() => listenToFile(file));
}

input.addEventListener("change", () => {
  choose(input.files[0]);
  input.value = ""; // the same file can be chosen again
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") choose(event.dataTransfer.files[0]);
  });
}
microphoneButton.addEventListener("click", () => {
  if (microphone) stopMicrophone();
  else attempt(listenToMicrophone);
});
cancel.addEventListener("click", () => {
  run += 1;
  cancel.hidden = true;
  showStatus("Cancelled. What was found until then is shown.");
});
audio.addEventListener("error", () => {
  if (audio.getAttribute("src")) showProblem(new Error("This browser cannot play the recording."));
});
element("download").addEventListener("click", () => {
  const text = eventsCsv(current.name, current.events, settings.labels);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${current.name.replace(/\.[^.]*$/, "")}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
});

attempt(load);
