// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Reads parts of WAV files of any length, and writes WAV files.

const [PCM, FLOAT, EXTENSIBLE] = [1, 3, 0xfffe];

/**
 * Open a WAV file (also RF64) with samples of 8 to 32 bits, or floats.
 *
 * file: a Blob. Returns {rate, channels, frames, read(start, stop)}, or null if it is another kind of file. `read` is
 * an async function that returns the mean of the channels, Float32Array, from -1 to 1.
 */
export async function openWav(file) {
  const view = async (start, stop) => new DataView(await file.slice(start, stop).arrayBuffer());
  const text = (bytes, place) => String.fromCharCode(...[0, 1, 2, 3].map((index) => bytes.getUint8(place + index)));
  const head = await view(0, 12);
  if (head.byteLength < 12 || !["RIFF", "RF64"].includes(text(head, 0)) || text(head, 8) !== "WAVE") return null;
  let [format, longSize] = [null, null];
  for (let place = 12; place + 8 <= file.size; ) {
    const chunk = await view(place, place + 48);
    const [name, size] = [text(chunk, 0), chunk.getUint32(4, true)];
    if (name === "ds64" && chunk.byteLength >= 24) longSize = Number(chunk.getBigUint64(16, true));
    if (name === "fmt " && chunk.byteLength >= 24) format = readFormat(chunk, size);
    if (name === "data") {
      if (!format) return null;
      const start = place + 8;
      const room = file.size - start;
      // A recorder that was stopped, or a pipe, leaves a size of 0 or of all ones
      const known = size === 0xffffffff ? longSize : size;
      return wav(file, format, start, Math.min(room, known || room));
    }
    place += 8 + size + (size % 2);
  }
  return null;
}

function readFormat(chunk, size) {
  const tag = chunk.getUint16(8, true);
  const [channels, rate, block, bits] = [
    chunk.getUint16(10, true), chunk.getUint32(12, true), chunk.getUint16(20, true), chunk.getUint16(22, true),
  ];
  const kind = tag === EXTENSIBLE && size >= 40 ? chunk.getUint16(32, true) : tag;
  const isKnown = (kind === PCM && [8, 16, 24, 32].includes(bits)) || (kind === FLOAT && [32, 64].includes(bits));
  return isKnown && channels && rate && block === (channels * bits) / 8 ? { kind, channels, rate, block, bits } : null;
}

function wav(file, { kind, channels, rate, block, bits }, start, size) {
  const frames = Math.floor(size / block);
  const sample = {
    [`${PCM} 8`]: (bytes, place) => (bytes.getUint8(place) - 128) / 2 ** 7,
    [`${PCM} 16`]: (bytes, place) => bytes.getInt16(place, true) / 2 ** 15,
    [`${PCM} 24`]: (bytes, place) => (bytes.getUint16(place, true) + bytes.getInt8(place + 2) * 2 ** 16) / 2 ** 23,
    [`${PCM} 32`]: (bytes, place) => bytes.getInt32(place, true) / 2 ** 31,
    [`${FLOAT} 32`]: (bytes, place) => bytes.getFloat32(place, true),
    [`${FLOAT} 64`]: (bytes, place) => bytes.getFloat64(place, true),
  }[`${kind} ${bits}`];
  const read = async (from, to) => {
    const part = file.slice(start + from * block, start + Math.min(to, frames) * block);
    const bytes = new DataView(await part.arrayBuffer());
    const samples = new Float32Array(Math.floor(bytes.byteLength / block));
    for (let frame = 0; frame < samples.length; frame++) {
      let sum = 0;
      for (let channel = 0; channel < channels; channel++) sum += sample(bytes, frame * block + (channel * bits) / 8);
      samples[frame] = sum / channels;
    }
    return samples;
  };
  return { rate, channels, frames, read };
}

/** A mono WAV file of 16 bits. parts: Int16Array each. Returns a Blob. */
export function writeWav(parts, rate) {
  const size = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const put = (place, name) => [...name].forEach((letter, index) => head.setUint8(place + index, letter.charCodeAt(0)));
  put(0, "RIFF");
  head.setUint32(4, 36 + size, true);
  put(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  [PCM, 1].forEach((value, index) => head.setUint16(20 + 2 * index, value, true));
  [rate, 2 * rate].forEach((value, index) => head.setUint32(24 + 4 * index, value, true));
  [2, 16].forEach((value, index) => head.setUint16(32 + 2 * index, value, true));
  put(36, "data");
  head.setUint32(40, size, true);
  return new Blob([head, ...parts], { type: "audio/wav" });
}
