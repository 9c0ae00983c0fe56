// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Sends the mean of the channels to the page, a tenth of a second at a time.

registerProcessor("tap", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 10));
    this.count = 0;
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let place = 0; place < length; place++) {
      let sum = 0;
      for (const channel of channels) sum += channel[place];
      this.block[this.count++] = sum / channels.length;
      if (this.count < this.block.length) continue;
      this.port.postMessage(this.block);
      this.count = 0;
    }
    return true;
  }
});
