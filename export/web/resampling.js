// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Changes the sampling rate block by block, with the filter of `torchaudio.functional.resample` as in Python.

const FILTER_WIDTH = 6;
const ROLLOFF = 0.99;

export class Resampler {
  constructor(fromRate, toRate) {
    [this.new, this.old] = ratio(toRate, fromRate);
    this.isNeeded = this.new !== this.old;
    this.width = Math.ceil((FILTER_WIDTH * this.old) / (Math.min(this.old, this.new) * ROLLOFF));
    this.filters = Array.from({ length: this.new }, (_, phase) => filter(phase, this.old, this.new, this.width));
    this.pending = new Float32Array(this.width); // silence before the recording
    [this.read, this.written] = [0, 0];
  }

  /** The resampled samples that follow from a block; together they are those of the whole recording. */
  push(block) {
    if (!this.isNeeded) return block;
    this.read += block.length;
    return this.resample(block);
  }

  /** The rest of the samples. */
  finish() {
    if (!this.isNeeded) return new Float32Array(0);
    const rest = Math.ceil((this.read * this.new) / this.old) - this.written;
    return this.resample(new Float32Array(this.width + 2 * this.old)).slice(0, rest);
  }

  resample(block) {
    const samples = concatenated(this.pending, block);
    const steps = Math.max(0, Math.floor((samples.length - 2 * this.width) / this.old));
    const result = new Float32Array(steps * this.new);
    for (let step = 0, place = 0; step < steps; step++) {
      for (const { first, weights } of this.filters) {
        const start = step * this.old + first;
        let sum = 0;
        for (let tap = 0; tap < weights.length; tap++) sum += samples[start + tap] * weights[tap];
        result[place++] = sum;
      }
    }
    this.pending = samples.slice(steps * this.old);
    this.written += result.length;
    return result;
  }
}

export function concatenated(...arrays) {
  const result = new Float32Array(arrays.reduce((sum, one) => sum + one.length, 0));
  let place = 0;
  for (const one of arrays) {
    result.set(one, place);
    place += one.length;
  }
  return result;
}

// The weights of the samples for one of the `new` results of a step of `old` samples
function filter(phase, old, fresh, width) {
  const scale = (Math.min(old, fresh) * ROLLOFF) / old;
  const weights = new Float32Array(2 * width + old);
  for (let tap = 0; tap < weights.length; tap++) {
    const time = ((tap - width) / old - phase / fresh) * Math.min(old, fresh) * ROLLOFF;
    if (Math.abs(time) >= FILTER_WIDTH) continue;
    const sinc = time === 0 ? 1 : Math.sin(Math.PI * time) / (Math.PI * time);
    weights[tap] = sinc * Math.cos((Math.PI * time) / FILTER_WIDTH / 2) ** 2 * scale;
  }
  const first = weights.findIndex((weight) => weight !== 0);
  return { first, weights: weights.slice(first, weights.findLastIndex((weight) => weight !== 0) + 1) };
}

// The fraction nearest to a / b with a denominator of at most 1000, as `Fraction.limit_denominator` finds it
function ratio(a, b) {
  const divisor = greatestDivisor(a, b);
  [a, b] = [a / divisor, b / divisor];
  if (b <= 1000) return [a, b];
  let [n, d] = [a, b];
  let [p0, q0, p1, q1] = [0, 1, 1, 0];
  for (;;) {
    const whole = Math.floor(n / d);
    const q2 = q0 + whole * q1;
    if (q2 > 1000) break;
    [p0, q0, p1, q1] = [p1, q1, p0 + whole * p1, q2];
    [n, d] = [d, n - whole * d];
  }
  const k = Math.floor((1000 - q0) / q1);
  const [p, q] = [p0 + k * p1, q0 + k * q1];
  return Math.abs(p1 / q1 - a / b) <= Math.abs(p / q - a / b) ? [p1, q1] : [p, q];
}

function greatestDivisor(a, b) {
  return b ? greatestDivisor(b, a % b) : a;
}
