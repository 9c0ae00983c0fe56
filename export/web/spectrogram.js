// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Log-mel spectrograms for pictures, as in inference/pictures.py.

const MEL_BINS = 96;
const HIGHEST_FREQUENCY = 8000;
const FRAME_SECONDS = 0.064;
// What is quieter than the loudest energy by more decibels is shown as silence
const RANGE = 80;

/** Energies of frames in mel bins up to 8 kHz, or half of the sampling rate. */
export class MelFrames {
  constructor(rate) {
    this.size = 2 ** Math.round(Math.log2(FRAME_SECONDS * rate));
    this.window = Float32Array.from({ length: this.size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / this.size));
    this.filters = melFilters(this.size, rate);
    this.fourier = new Fourier(this.size);
  }

  /** Add the energies of the frame of `samples` that begins at `start` to `sums`, at `place`. */
  add(samples, start, sums, place) {
    const { real, imaginary } = this.fourier;
    for (let n = 0; n < this.size; n++) real[n] = (samples[start + n] ?? 0) * this.window[n];
    imaginary.fill(0);
    this.fourier.transform();
    this.filters.forEach(({ first, weights }, bin) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) {
        sum += weights[k] * (real[first + k] ** 2 + imaginary[first + k] ** 2);
      }
      sums[place + bin] += sum / this.size ** 2; // the same at any rate
    });
  }
}

/**
 * The spectrogram of a recording whose samples come block by block. It has a limited number of columns: once there are
 * more, two become one.
 */
export class SpectrogramStream {
  constructor(rate, mostColumns = 4096) {
    this.frames = new MelFrames(rate);
    this.rate = rate;
    this.hop = this.frames.size / 2;
    this.framesPerColumn = 1;
    this.sums = new Float32Array(mostColumns * MEL_BINS);
    this.count = 0; // of frames
    this.rest = new Float32Array(this.frames.size / 2); // the middle of the first frame is the first sample
    this.skipped = 0;
  }

  push(block) {
    const { frames } = this;
    const samples = new Float32Array(this.rest.length + block.length);
    samples.set(this.rest);
    samples.set(block, this.rest.length);
    let start = this.skipped;
    for (; start + frames.size <= samples.length; start += this.hop) {
      if (this.count === (this.sums.length / MEL_BINS) * this.framesPerColumn) this.halve();
      frames.add(samples, start, this.sums, Math.floor(this.count / this.framesPerColumn) * MEL_BINS);
      this.count += 1;
    }
    this.rest = samples.slice(Math.min(start, samples.length));
    this.skipped = start - Math.min(start, samples.length);
  }

  halve() {
    const half = this.sums.length / 2;
    for (let place = 0; place < half; place++) {
      const source = 2 * place - (place % MEL_BINS);
      this.sums[place] = this.sums[source] + this.sums[source + MEL_BINS];
    }
    this.sums.fill(0, half);
    this.framesPerColumn *= 2;
  }

  /** {values, columns, bins, loudest, seconds}: bytes (columns, bins), 255 for the loudest; time of all columns. */
  picture() {
    const columns = Math.ceil(this.count / this.framesPerColumn);
    const means = this.sums.slice(0, columns * MEL_BINS);
    const last = this.count - (columns - 1) * this.framesPerColumn;
    for (let place = 0; place < means.length; place++) {
      means[place] /= place < (columns - 1) * MEL_BINS ? this.framesPerColumn : last;
    }
    const loudest = means.reduce((most, mean) => Math.max(most, mean), 1e-10);
    return { ...inBytes(means, loudest), seconds: (columns * this.framesPerColumn * this.hop) / this.rate };
  }
}

/**
 * The picture of a part of a recording with a number of columns. The samples begin half a frame before the part and end
 * half a frame after it; `loudest` is the energy that becomes 255.
 */
export function partPicture(samples, rate, columns, loudest) {
  const mel = new MelFrames(rate);
  const length = samples.length - mel.size;
  const framesPerColumn = Math.max(1, Math.min(4, Math.floor(length / columns / (mel.size / 4))));
  const sums = new Float32Array(columns * MEL_BINS);
  for (let frame = 0; frame < columns * framesPerColumn; frame++) {
    const start = Math.floor(((frame + 0.5) / (columns * framesPerColumn)) * length);
    mel.add(samples, start, sums, Math.floor(frame / framesPerColumn) * MEL_BINS);
  }
  return inBytes(sums.map((sum) => sum / framesPerColumn), loudest);
}

function inBytes(means, loudest) {
  const decibels = (mean) => 10 * Math.log10(Math.max(mean / loudest, 10 ** (-RANGE / 10)));
  const values = Uint8ClampedArray.from(means, (mean) => (1 + decibels(mean) / RANGE) * 255);
  return { values, columns: means.length / MEL_BINS, bins: MEL_BINS, loudest };
}

function melFilters(size, rate) {
  const toMel = (frequency) => 2595 * Math.log10(1 + frequency / 700);
  const toFrequency = (mel) => 700 * (10 ** (mel / 2595) - 1);
  const highest = toMel(Math.min(HIGHEST_FREQUENCY, rate / 2));
  const edges = Array.from({ length: MEL_BINS + 2 }, (_, n) => toFrequency((highest * n) / (MEL_BINS + 1)));
  return edges.slice(0, MEL_BINS).map((left, bin) => {
    const [middle, right] = [edges[bin + 1], edges[bin + 2]];
    const first = Math.max(0, Math.floor((left * size) / rate));
    const last = Math.min(size / 2, Math.ceil((right * size) / rate));
    const weights = Float32Array.from({ length: last - first + 1 }, (_, k) => {
      const frequency = ((first + k) * rate) / size;
      return Math.max(0, Math.min((frequency - left) / (middle - left), (right - frequency) / (right - middle)));
    });
    return { first, weights };
  });
}

/** A Fourier transform of a power of two values, in place in `real` and `imaginary`. */
class Fourier {
  constructor(size) {
    this.size = size;
    this.real = new Float64Array(size);
    this.imaginary = new Float64Array(size);
    this.cosines = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / size));
    this.sines = Float64Array.from({ length: size / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / size));
    const bits = Math.log2(size);
    this.reversed = Uint32Array.from({ length: size }, (_, n) => {
      let result = 0;
      for (let bit = 0; bit < bits; bit++) result = (result << 1) | ((n >> bit) & 1);
      return result;
    });
  }

  transform() {
    const { size, real, imaginary, cosines, sines, reversed } = this;
    for (let n = 0; n < size; n++) {
      const other = reversed[n];
      if (other <= n) continue;
      [real[n], real[other]] = [real[other], real[n]];
      [imaginary[n], imaginary[other]] = [imaginary[other], imaginary[n]];
    }
    for (let half = 1; half < size; half *= 2) {
      const stride = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const [one, other] = [start + k, start + k + half];
          const [c, s] = [cosines[k * stride], sines[k * stride]];
          const re = c * real[other] - s * imaginary[other];
          const im = c * imaginary[other] + s * real[other];
          real[other] = real[one] - re;
          imaginary[other] = imaginary[one] - im;
          real[one] += re;
          imaginary[one] += im;
        }
      }
    }
  }
}
