// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Scores of a recording over time, from overlapping windows that are joined: inference/timeline.py in JavaScript.

import { concatenated } from "./resampling.js";

/** The windows of a recording; lengths are in samples, see `WindowLayout` in Python. */
export class WindowLayout {
  constructor({ length, size, step, answer, cell, join }) {
    Object.assign(this, { length, size, step, answer, cell, join });
    this.passes = answer / cell;
  }

  firstStart(number) {
    return Math.floor(((2 * number + 1 - this.passes) * this.cell) / 2);
  }

  weights() {
    const answers = Math.max(1, Math.ceil((2 * this.length - this.answer) / (2 * this.answer)));
    const weights = new Float32Array(answers).fill(1);
    if (this.join !== "fade") return weights;
    return weights.map((_, index) => {
      const middle = Math.fround((index + 0.5) * this.answer);
      return Math.fround(Math.min(middle, this.length - middle)) / this.length;
    });
  }
}

/**
 * The timeline of one recording, whose samples come in blocks of any length.
 *
 * layout: a `WindowLayout`; shortest: a shorter rest at the end gets no window; numLabels;
 * score: an async function of (samples, isWhole) that returns the answers of a window, an array of Float32Array
 * (labels).
 */
export class TimelineStream {
  constructor(layout, shortest, numLabels, score) {
    Object.assign(this, { layout, shortest, numLabels, score });
    this.lead = Math.max(0, -layout.firstStart(0));
    this.samples = 0;
    this.held = new Float32Array(0);
    this.heldStart = -this.lead;
    this.hasLead = false;
    this.next = Array(layout.passes).fill(0);
    this.joiners = this.next.map(() => new Joiner(layout, numLabels));
    this.cells = 0;
    this.last = null;
  }

  /** Add mono samples, Float32Array; returns the cells that are final now, an array of Float32Array (labels). */
  async push(samples) {
    if (samples.some((sample) => !Number.isFinite(sample))) {
      throw new Error("The samples contain NaN or infinity. Check the source of the sound.");
    }
    this.samples += samples.length;
    this.held = concatenated(this.held, samples);
    if (this.hasLead || this.held.length >= this.lead) {
      this.addLead();
      await this.runWindows(false);
    }
    return this.finalCells();
  }

  /** End the recording; returns the rest of the cells. */
  async finish() {
    if (!this.samples) throw new Error("The recording has no samples.");
    this.addLead();
    await this.runWindows(true);
    for (const joiner of this.joiners) joiner.finish();
    const cells = this.finalCells();
    // An end too short for a window of its own
    const missing = Math.ceil(this.samples / this.layout.cell) - this.cells;
    if (this.last) for (let cell = 0; cell < missing; cell++) cells.push(this.last);
    return cells;
  }

  addLead() {
    if (this.hasLead) return;
    this.held = concatenated(mirrored(this.held, this.lead), this.held);
    this.hasLead = true;
  }

  async runWindows(isEnd) {
    const { layout } = this;
    const end = this.heldStart + this.held.length;
    let start;
    for (;;) {
      const starts = this.next.map((index, number) => layout.firstStart(number) + index * layout.step);
      start = Math.min(...starts);
      const number = starts.indexOf(start);
      // A window that ends with the samples waits for more of them, or for the end of the recording
      if (!isEnd && start + layout.size >= end) break;
      if (start + layout.size > end) {
        const isFirst = this.next[number] === 0;
        if (!isFirst && start - layout.step + layout.length + this.shortest > end) break;
      }
      const first = start < end ? start - this.heldStart : 0;
      const isWhole = isEnd && this.samples + this.lead <= layout.size;
      this.next[number] += 1;
      this.joiners[number].add(await this.score(this.held.slice(first, first + layout.size), isWhole));
    }
    const passed = Math.min(start - this.heldStart, this.held.length);
    this.held = this.held.slice(passed);
    this.heldStart += passed;
  }

  finalCells() {
    const number = Math.min(...this.joiners.map((joiner) => joiner.numberFinal));
    const passes = this.joiners.map((joiner) => joiner.take(number));
    const room = Math.max(0, Math.ceil(this.samples / this.layout.cell) - this.cells);
    const cells = [];
    for (let index = 0; index < number; index++) for (const pass of passes) cells.push(pass[index]);
    cells.length = Math.min(cells.length, room);
    this.cells += cells.length;
    this.last = cells.at(-1) ?? this.last;
    return cells;
  }
}

/** Joins the answers of the windows of one pass, which come in their order. */
class Joiner {
  constructor(layout, numLabels) {
    this.weights = layout.weights();
    this.step = layout.step / layout.answer;
    this.joinsByMax = layout.join === "max";
    this.numLabels = numLabels;
    this.sums = []; // of each cell, Float32Array (labels)
    this.totals = [];
    this.numberFinal = 0; // the next window begins after them
  }

  add(answers) {
    answers.slice(0, this.weights.length).forEach((scores, index) => {
      const own = this.numberFinal + index;
      while (this.sums.length <= own) {
        this.sums.push(new Float32Array(this.numLabels));
        this.totals.push(0);
      }
      const [sums, weight] = [this.sums[own], this.weights[index]];
      scores.forEach((score, label) => {
        if (this.joinsByMax) sums[label] = Math.max(sums[label], score);
        else sums[label] += Math.fround(weight * score);
      });
      this.totals[own] = this.joinsByMax ? 1 : Math.fround(this.totals[own] + weight);
    });
    this.numberFinal += this.step;
  }

  finish() {
    this.numberFinal = this.sums.length;
  }

  take(number) {
    const totals = this.totals.splice(0, number);
    this.numberFinal -= number;
    return this.sums.splice(0, number).map((sums, index) => sums.map((sum) => sum / totals[index]));
  }
}

// So many samples of the mirror image of a recording's beginning, as np.pad(mode="symmetric") puts them before it
function mirrored(samples, number) {
  const [count, result] = [samples.length, new Float32Array(number)];
  for (let before = 0; before < number; before++) {
    const place = before % (2 * count);
    result[number - 1 - before] = samples[place < count ? place : 2 * count - 1 - place];
  }
  return result;
}
