// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// The timeline of a recording: its spectrogram, scores and events. `showAnnotation` fills it, any number of times.
"use strict";

const [audio, timeline, canvas, cursor, hint, list, scroll, playButton, clock] = [
  "audio", "timeline", "canvas", "cursor", "hint", "list", "scroll", "play", "clock",
].map((id) => document.getElementById(id));
const [STRIP, HEAT, BAR, AXIS, SPACE] = [140, 15, 18, 20, 6];
const MOST_LISTED = 300;
const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

let [duration, labels, events, rows, gaps] = [0, [], [], [], []];
let heat = { labels: [], columns: 0, column_seconds: 1 };
let scores = new Uint8Array(0); // (heat.labels, heat.columns), where 255 is a score of 1
let pictures = []; // of the spectrogram, {image, from, to} with times in seconds; the later ones lie on top
let [start, span] = [0, 0]; // the part that is shown, in seconds
let [shortest, rowOf, heatTop, barsTop, height] = [0, new Map(), 0, 0, 0];

/**
 * Show an annotation. What was shown of the one before stays in view, unless all of it was.
 *
 * content: duration in seconds; labels; events [onset, offset, label, score]; rows: the labels with a row of events;
 * hidden_labels: number of labels without one; heat: {labels, columns, column_seconds} of `heatScores`;
 * gaps [start, stop, reason]. Labels are given by their indices.
 */
function showAnnotation(content, heatScores) {
  const showsAll = span >= duration;
  ({ duration, labels, events, rows, heat, gaps } = content);
  scores = heatScores;
  shortest = Math.min(duration, 0.5);
  rowOf = new Map(rows.map((label, row) => [label, row]));
  heatTop = STRIP + AXIS + SPACE;
  barsTop = heatTop + (heat.labels.length ? heat.labels.length * HEAT + SPACE : 0);
  height = barsTop + Math.max(1, rows.length) * BAR + SPACE;
  const others = content.hidden_labels ? `; ${content.hidden_labels} more labels have events, in the list only` : "";
  document.getElementById("facts").textContent =
    `${format(duration, 1)}; events: ${events.length}; gaps: ${gaps.length}${others}`;
  timeline.setAttribute("aria-valuemax", duration.toFixed(1));
  paintHeat();
  if (showsAll) show(0, duration);
  else show(start, span);
}

function showPictures(...spectrograms) {
  pictures = spectrograms;
  draw();
}

// The scores as an image of one pixel for each column and label, coloured when it is drawn
const heatImage = document.createElement("canvas");
function paintHeat() {
  if (!heat.labels.length) return;
  [heatImage.width, heatImage.height] = [heat.columns, heat.labels.length];
  const context = heatImage.getContext("2d");
  const image = context.createImageData(heat.columns, heat.labels.length);
  const colour = style("--heat").split(",").map(Number);
  scores.forEach((score, index) => image.data.set([...colour, score], 4 * index));
  context.putImageData(image, 0, 0);
}

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function format(seconds, decimals = 0) {
  const unit = 10 ** decimals;
  const whole = Math.round(seconds * unit) / unit;
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const end = rest.toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0");
  return (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes) + ":" + end;
}

function hatching(context) {
  const tile = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const lines = tile.getContext("2d");
  lines.strokeStyle = style("--cursor");
  for (const x of [-8, 0, 8]) {
    lines.moveTo(x, 8);
    lines.lineTo(x + 8, 0);
  }
  lines.stroke();
  return context.createPattern(tile, "repeat");
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
const gutter = () => Math.min(150, 0.3 * timeline.clientWidth); // for the names of labels
const width = () => Math.max(1, timeline.clientWidth - gutter());
const toX = (seconds) => gutter() + ((seconds - start) / span) * width();
const toSeconds = (x) => clamp(start + ((x - gutter()) / width()) * span, 0, duration);

// The indices of the events in the part that is shown
const visibleEvents = () => [...events.keys()].filter((index) => {
  const [onset, offset] = events[index];
  return onset <= start + span && offset >= start;
});

function eventAt(x, y) {
  const row = Math.floor((y - barsTop) / BAR);
  if (x < gutter() || row < 0 || row >= rows.length) return undefined;
  // Of bars that lie on each other the last one is on top; a narrow bar has 3 pixels on each side
  return visibleEvents().reverse().find((index) => {
    const [onset, offset, label] = events[index];
    return rowOf.get(label) === row && x >= toX(onset) - 3 && x <= toX(offset) + 3;
  });
}

function draw() {
  const scale = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [timeline.clientWidth * scale, height * scale];
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  const names = (titles, top, rowHeight) => titles.forEach((label, row) => {
    let text = labels[label].slice(0, 80);
    while (text && context.measureText(text).width > gutter() - 10) text = text.replace(/.…?$/su, "…").replace(/^…$/, "");
    context.fillText(text, 4, top + (row + 0.5) * rowHeight);
  });
  context.fillStyle = style("--text");
  names(heat.labels, heatTop, HEAT);
  names(rows, barsTop, BAR);
  if (!events.length) context.fillText("no events", gutter() + 6, barsTop + BAR / 2);

  context.save();
  context.beginPath();
  context.rect(gutter(), 0, width(), height);
  context.clip();
  for (const { image, from, to } of pictures) context.drawImage(image, toX(from), 0, toX(to) - toX(from), STRIP);
  context.imageSmoothingEnabled = false;
  if (heat.labels.length) {
    const end = toX(heat.columns * heat.column_seconds) - toX(0);
    context.drawImage(heatImage, toX(0), heatTop, end, heat.labels.length * HEAT);
  }
  const light = style("--light");
  for (const index of visibleEvents()) {
    const [onset, offset, label] = events[index];
    const row = rowOf.get(label);
    if (row === undefined) continue;
    context.fillStyle = `hsl(${(row * 137.5) % 360} 65% ${light})`;
    context.fillRect(toX(onset), barsTop + row * BAR + 2, Math.max(2, toX(offset) - toX(onset)), BAR - 4);
  }
  context.fillStyle = hatching(context);
  for (const [from, to] of gaps) context.fillRect(toX(from), 0, Math.max(2, toX(to) - toX(from)), height);
  context.fillStyle = style("--faint");
  const step = STEPS.find((one) => (one / span) * width() >= 80) || STEPS.at(-1);
  for (let tick = Math.ceil(start / step); tick * step <= start + span; tick++) {
    context.fillRect(toX(tick * step), STRIP, 1, 4);
    context.fillText(format(tick * step, step < 0.1 ? 2 : step < 1 ? 1 : 0), toX(tick * step) + 3, STRIP + 12);
  }
  context.restore();
  showTime();
}

function showTime() {
  const now = audio.currentTime;
  const x = toX(now);
  cursor.hidden = x < gutter() || x > timeline.clientWidth;
  cursor.style.left = `${x}px`;
  clock.textContent = `${format(now, 1)} / ${format(duration, 1)}`;
  timeline.setAttribute("aria-valuenow", now.toFixed(1));
  timeline.setAttribute("aria-valuetext", `${format(now, 1)} of ${format(duration, 1)}`);
  for (const button of list.querySelectorAll("button")) {
    const [onset, offset] = events[button.dataset.index];
    button.setAttribute("aria-current", onset <= now && now < offset);
  }
}

function show(from, seconds) {
  span = clamp(seconds, shortest, duration);
  start = clamp(from, 0, duration - span);
  scroll.hidden = span >= duration;
  scroll.value = span < duration ? (1000 * start) / (duration - span) : 0;
  fillList();
  draw();
  timeline.dispatchEvent(new Event("show"));
}

function zoom(factor, at = audio.currentTime) {
  const middle = at >= start && at <= start + span ? at : start + span / 2;
  const seconds = clamp(span * factor, shortest, duration);
  show(middle - ((middle - start) / span) * seconds, seconds);
}

function fillList() {
  const found = visibleEvents();
  const shown = found.slice(0, MOST_LISTED);
  const more = found.length > shown.length ? `, the first ${shown.length} are listed: zoom in for the others` : "";
  document.getElementById("heading").textContent = `Events in the part above: ${found.length}${more}`;
  list.replaceChildren(...shown.map((index) => {
    const [onset, offset, label, score] = events[index];
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.index = index;
    for (const text of [`${format(onset, 3)} to ${format(offset, 3)}`, labels[label], `${Math.round(100 * score)} %`]) {
      button.append(Object.assign(document.createElement("span"), { textContent: text }));
    }
    button.onclick = () => playEvent(index);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  showTime();
}

function seek(seconds) {
  audio.currentTime = clamp(seconds, 0, duration);
  if (seconds < start || seconds > start + span) show(seconds - span / 4, span);
  showTime();
}

function play() {
  audio.play().catch(() => {}); // the event `error` says why
}

function playEvent(index) {
  seek(events[index][0]);
  play();
}

function stepEvent(direction) {
  const now = audio.currentTime;
  const grace = audio.paused ? 0.001 : 0.5; // while it plays, the event that has just begun is not the previous one
  const index = direction > 0
    ? events.findIndex(([onset]) => onset > now + 0.001)
    : events.findLastIndex(([onset]) => onset < now - grace);
  if (events[index]) seek(events[index][0]);
}

function toggle() {
  if (audio.paused) play();
  else audio.pause();
}

function follow() {
  if (audio.paused) return;
  const now = audio.currentTime;
  // The next part, unless somebody looks at another part
  if (now > start + span && !cursor.hidden) show(now, span);
  showTime();
  requestAnimationFrame(follow);
}

audio.addEventListener("play", () => { playButton.textContent = "Pause"; follow(); });
audio.addEventListener("pause", () => { playButton.textContent = "Play"; showTime(); });
audio.addEventListener("seeked", showTime);
const place = (event) => {
  const box = timeline.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
timeline.addEventListener("click", (event) => {
  const [x, y] = place(event);
  const index = eventAt(x, y);
  if (index !== undefined) playEvent(index);
  else if (x >= gutter()) seek(toSeconds(x));
});
timeline.addEventListener("pointermove", (event) => {
  const [x, y] = place(event);
  const [seconds, index, row] = [toSeconds(x), eventAt(x, y), Math.floor((y - heatTop) / HEAT)];
  const gap = gaps.find(([from, to]) => from <= seconds && seconds <= to);
  let text = format(seconds, 2);
  if (index !== undefined) {
    const [onset, offset, label, score] = events[index];
    text = `${labels[label]}\n${format(onset, 3)} to ${format(offset, 3)}\nscore ${score.toFixed(2)}`;
  } else if (y >= heatTop && row < heat.labels.length) {
    const column = clamp(Math.floor(seconds / heat.column_seconds), 0, heat.columns - 1);
    text = `${labels[heat.labels[row]]}\n${text}\nscore ${(scores[row * heat.columns + column] / 255).toFixed(2)}`;
  } else if (gap) text = `cannot be read: ${gap[2]}\n${format(gap[0], 3)} to ${format(gap[1], 3)}`;
  hint.textContent = text;
  hint.hidden = x < gutter();
  hint.style.left = `${Math.min(event.clientX + 12, innerWidth - hint.offsetWidth - 8)}px`;
  hint.style.top = `${Math.min(event.clientY + 16, innerHeight - hint.offsetHeight - 8)}px`;
});
timeline.addEventListener("pointerleave", () => { hint.hidden = true; });
timeline.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.deltaX) return; // the page scrolls
  event.preventDefault();
  if (event.ctrlKey) zoom(1.002 ** event.deltaY, toSeconds(place(event)[0]));
  else show(start + (event.deltaX / width()) * span, span);
}, { passive: false });

const actions = {
  " ": toggle,
  ArrowLeft: (event) => seek(audio.currentTime - (event.shiftKey ? 1 : 5)),
  ArrowRight: (event) => seek(audio.currentTime + (event.shiftKey ? 1 : 5)),
  Home: () => seek(0),
  End: () => seek(duration),
  n: () => stepEvent(1),
  p: () => stepEvent(-1),
  "+": () => zoom(0.5),
  "-": () => zoom(2),
};
document.addEventListener("keydown", (event) => {
  const action = actions[event.key];
  const isControl = ["INPUT", "AUDIO"].includes(event.target.tagName);
  const pressesButton = event.key === " " && event.target.tagName === "BUTTON";
  if (!action || isControl || pressesButton || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action(event);
});

const press = (id, action) => document.getElementById(id).addEventListener("click", action);
press("play", toggle);
press("previous", () => stepEvent(-1));
press("next", () => stepEvent(1));
press("in", () => zoom(0.5));
press("out", () => zoom(2));
press("all", () => show(0, duration));
scroll.addEventListener("input", () => show((scroll.value / 1000) * (duration - span), span));
new ResizeObserver(draw).observe(timeline);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paintHeat(); draw(); });
