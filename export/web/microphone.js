// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Sound from a microphone, as it comes and as a recording.

import { concatenated } from "./resampling.js";
import { writeWav } from "./wav.js";

const REASONS = {
  NotFoundError: "There is no microphone.",
  NotAllowedError: "The page may not use the microphone. Allow it in the settings of the browser for this page.",
  NotReadableError: "The microphone is in use by another program, or does not work.",
};

export class Microphone {
  /** Begin to record. */
  static async open() {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give a microphone only to pages with an address that begins with https, or localhost.");
    }
    const unprocessed = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: unprocessed });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The microphone does not work: ${error.message}`);
    }
    const context = new AudioContext();
    await context.audioWorklet.addModule(new URL("microphone_worklet.js", import.meta.url));
    return new Microphone(stream, context);
  }

  constructor(stream, context) {
    this.stream = stream;
    this.context = context;
    this.rate = context.sampleRate;
    this.blocks = []; // not yet taken
    this.parts = []; // all that was recorded, Int16Array
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => {
      this.blocks.push(data);
      this.parts.push(Int16Array.from(data, (sample) => Math.max(-1, Math.min(1, sample)) * 32767));
    };
    context.createMediaStreamSource(stream).connect(tap);
    context.resume();
  }

  /** What has come since the last call, Float32Array. */
  take() {
    return concatenated(...this.blocks.splice(0));
  }

  /** The number of samples that have not been taken. */
  get waiting() {
    return this.blocks.reduce((sum, block) => sum + block.length, 0);
  }

  async close() {
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }

  /** All that was recorded, as a WAV file. */
  file() {
    return new File([writeWav(this.parts, this.rate)], "microphone.wav", { type: "audio/wav" });
  }
}
