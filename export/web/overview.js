// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// What a page shows of the scores and events of a recording: inference/annotation.py and pictures.py in JavaScript.

const COLUMNS = 1024;
const MOST_SCORES = 15;
const MOST_ROWS = 40;

/** Collects the highest scores of a recording of any length in at most twice `COLUMNS` columns, and their means. */
export class Overview {
  constructor(numLabels, cellSeconds) {
    this.cellSeconds = cellSeconds;
    this.cellsPerColumn = 1;
    this.columns = []; // Float32Array (labels) each
    this.last = null; // the last column, and how many cells it has
    this.lastCells = 0;
    this.sums = new Float64Array(numLabels);
    this.cells = 0;
  }

  add(cells) {
    for (const cell of cells) {
      this.cells += 1;
      cell.forEach((score, label) => { this.sums[label] += score; });
      this.last = this.lastCells ? highest(this.last, cell) : cell;
      this.lastCells += 1;
      if (this.lastCells < this.cellsPerColumn) continue;
      this.columns.push(this.last);
      this.lastCells = 0;
      if (this.columns.length === 2 * COLUMNS) this.halve();
    }
  }

  halve() {
    const { columns } = this;
    this.columns = Array.from({ length: COLUMNS }, (_, index) => highest(columns[2 * index], columns[2 * index + 1]));
    this.cellsPerColumn *= 2;
  }

  /** The mean score of each label. */
  means() {
    return Array.from(this.sums, (sum) => sum / Math.max(1, this.cells));
  }

  /** The scores of the leading labels as the timeline shows them: {heat, scores}, Float32Array (labels, columns). */
  heat() {
    const columns = this.lastCells ? [...this.columns, this.last] : this.columns;
    const peaks = columns.length ? columns.reduce(highest) : [];
    const labels = [...peaks.keys()].sort((a, b) => peaks[b] - peaks[a] || a - b).slice(0, MOST_SCORES);
    const scores = new Float32Array(labels.length * columns.length);
    labels.forEach((label, row) => columns.forEach((column, index) => {
      scores[row * columns.length + index] = column[label];
    }));
    const heat = { labels, columns: columns.length, column_seconds: this.cellsPerColumn * this.cellSeconds };
    return { heat, scores };
  }
}

function highest(one, other) {
  return one.map((score, label) => Math.max(score, other[label]));
}

/** The labels that have events, those with the longest events in sum first: {rows, hidden_labels}. */
export function eventRows(events) {
  const seconds = new Map();
  for (const { onset, offset, label } of events) seconds.set(label, (seconds.get(label) ?? 0) + offset - onset);
  const rows = [...seconds.keys()].sort((a, b) => seconds.get(b) - seconds.get(a));
  return { rows: rows.slice(0, MOST_ROWS), hidden_labels: Math.max(0, rows.length - MOST_ROWS) };
}

/** A table of events as `polyaudio annotate` writes it. */
export function eventsCsv(file, events, labels) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = events.map(({ onset, offset, label, score }) =>
    [quoted(file), seconds(onset), seconds(offset), quoted(labels[label]), score.toFixed(6)].join(","));
  return ["file,onset,offset,label,score", ...lines, ""].join("\n");
}

const seconds = (time) => time.toFixed(6);
