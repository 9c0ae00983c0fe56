// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// From scores over time to events: data/event_rules.py in JavaScript, with the same results.

const TIME_PRECISION = 1e-6;
const CELL_PRECISION = 1e-6;
const SCORE_UNIT = 2 ** -30;

/** The events of one recording, in cells that come block by block; see `EventDetector` in Python. */
export class EventDetector {
  /** rules: `event_rules` of a model, or null; numLabels; cellSeconds: time from one cell to the next. */
  constructor(rules, numLabels, cellSeconds) {
    const all = { threshold: 0.5, low_threshold: null, median_filter: 0, min_duration: 0, max_gap: 0, ...rules };
    all.low_threshold ??= all.threshold;
    const ofLabels = (name) => (Array.isArray(all[name]) ? all[name] : Array(numLabels).fill(all[name]));
    this.numLabels = numLabels;
    this.cellSeconds = cellSeconds;
    this.high = Float32Array.from(ofLabels("threshold"));
    this.low = Float32Array.from(ofLabels("low_threshold"));
    this.minDuration = ofLabels("min_duration").map((seconds) => seconds - TIME_PRECISION);
    this.gapCells = ofLabels("max_gap").map((seconds) => Math.floor(seconds / cellSeconds + CELL_PRECISION));
    this.filters = ofLabels("median_filter").map(
      (seconds) => 2 * Math.floor(seconds / cellSeconds / 2 + CELL_PRECISION) + 1,
    );
    this.reach = (Math.max(1, ...this.filters) - 1) / 2;
    this.numCells = 0;
    this.scores = []; // those that are still needed, Float32Array (labels) each
    this.hasStart = false;
    this.cell = 0; // the next cell to decide
    this.peaks = new Float64Array(numLabels);
    this.sums = new Float64Array(numLabels);
    this.wasActive = new Uint8Array(numLabels);
    this.rises = new Map(); // by label: {cell, peaks, sum} where its score rose above the low threshold
    this.lasts = new Map(); // by label: [start, stop] of the last event while another can still be joined to it
  }

  /** Take the scores of the next cells, Float32Array (labels) each; returns the events that are final now. */
  push(cells) {
    this.numCells += cells.length;
    for (const cell of cells) this.scores.push(cell);
    if (!this.hasStart && this.scores.length > this.reach) {
      this.scores = [...reflected(this.scores, this.reach), ...this.scores];
      this.hasStart = true;
    }
    return this.hasStart ? inOrder(this.decide()) : [];
  }

  /** End the recording, whose length in seconds is `duration`; returns the remaining events. */
  finish(duration = this.numCells * this.cellSeconds) {
    if (!this.numCells) return [];
    const before = this.hasStart ? [] : reflected(this.scores, this.reach);
    const after = reflected([...this.scores].reverse(), this.reach).reverse();
    this.scores = [...before, ...this.scores, ...after];
    const events = this.decide();
    for (const label of [...this.rises.keys()]) events.push(...this.fall(label, this.border(label)));
    for (const [label, [start, stop]] of this.lasts) events.push(...this.kept(label, start, stop, duration));
    return inOrder(events);
  }

  border(label) {
    return { cell: this.cell, peaks: this.peaks[label], sum: this.sums[label] };
  }

  // Decide all cells whose filters reach only scores that are here
  decide() {
    const { reach } = this;
    const number = this.scores.length - 2 * reach;
    if (number <= 0) return [];
    const columns = this.filters.map((length, label) => medians(this.scores, label, length, reach));
    const events = [];
    for (let row = 0; row < number; row++, this.cell++) {
      for (let label = 0; label < this.numLabels; label++) {
        const filtered = columns[label][row];
        const isActive = filtered > this.low[label] ? 1 : 0;
        if (isActive && !this.wasActive[label]) this.rises.set(label, this.border(label));
        else if (!isActive && this.wasActive[label]) events.push(...this.fall(label, this.border(label)));
        this.wasActive[label] = isActive;
        if (filtered > this.high[label]) this.peaks[label] += 1;
        this.sums[label] += roundedToEven(this.scores[row + reach][label] / SCORE_UNIT) * SCORE_UNIT;
      }
    }
    this.scores = this.scores.slice(number);
    for (const [label, [start, stop]] of [...this.lasts]) {
      const nextCell = this.rises.get(label)?.cell ?? this.cell;
      if (nextCell - stop.cell > this.gapCells[label]) {
        this.lasts.delete(label);
        events.push(...this.kept(label, start, stop));
      }
    }
    return events;
  }

  // Take the end of a run of scores above the low threshold; returns the event before it if that is final
  fall(label, stop) {
    let start = this.rises.get(label);
    this.rises.delete(label);
    if (stop.peaks === start.peaks) return [];
    let events = [];
    const last = this.lasts.get(label);
    if (last && start.cell - last[1].cell <= this.gapCells[label]) start = last[0];
    else if (last) events = this.kept(label, ...last);
    this.lasts.set(label, [start, stop]);
    return events;
  }

  kept(label, start, stop, end = Infinity) {
    const onset = start.cell * this.cellSeconds;
    const offset = Math.min(stop.cell * this.cellSeconds, end);
    if (offset <= onset || offset - onset < this.minDuration[label]) return [];
    return [{ onset, offset, label, score: (stop.sum - start.sum) / (stop.cell - start.cell) }];
  }
}

/** Events sorted by onset, offset and label. */
export function inOrder(events) {
  return events.sort((a, b) => a.onset - b.onset || a.offset - b.offset || a.label - b.label || a.score - b.score);
}

// So many cells of the mirror image of a beginning, in the order in which they come before it
function reflected(cells, number) {
  const result = [];
  for (let before = number - 1; before >= 0; before--) {
    const place = before % (2 * cells.length);
    result.push(cells[place < cells.length ? place : 2 * cells.length - 1 - place]);
  }
  return result;
}

// The medians of a label around all cells but the first and last `reach`, from windows that are kept sorted
function medians(scores, label, length, reach) {
  const [number, half] = [scores.length - 2 * reach, (length - 1) / 2];
  const first = reach - half;
  const result = new Float32Array(number);
  const window = new Float32Array(length);
  for (let index = 0; index < length; index++) window[index] = scores[first + index][label];
  window.sort();
  result[0] = window[half];
  for (let row = 1; row < number; row++) {
    const leaving = place(window, length, scores[first + row - 1][label]);
    window.copyWithin(leaving, leaving + 1);
    const score = scores[first + row + length - 1][label];
    const entering = place(window, length - 1, score);
    window.copyWithin(entering + 1, entering, length - 1);
    window[entering] = score;
    result[row] = window[half];
  }
  return result;
}

// The first place of a sorted array of `count` values whose value is not below `value`
function place(sorted, count, value) {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function roundedToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2) ? below + 1 : below;
}
