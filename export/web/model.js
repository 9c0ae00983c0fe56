// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Runs an exported model with ONNX Runtime.

import * as ort from "./ort.wasm.bundle.min.mjs";

/**
 * Load the model beside this file.
 *
 * settings: `polyaudio_export.json`; progress: a function of the share of the model that has arrived, from 0 to 1.
 */
export async function loadModel(settings, progress) {
  ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", import.meta.url).href };
  // Threads need a page that is isolated from others, by headers of its server
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  const graph = await fetchWhole(new URL(settings.graph, import.meta.url), progress);
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  return new Model(session, settings);
}

class Model {
  constructor(session, { labels, problem_type, task }) {
    this.session = session;
    this.numLabels = labels.length;
    this.isMultiLabel = problem_type === "multi_label_classification";
    this.labelsFrames = task === "frames";
  }

  /**
   * The answers for a window of samples, Float32Array: probabilities (labels) of the clip, or of each frame.
   *
   * isWhole: whether it is a whole recording, which the model hears as it was trained. The graph adds no padding to
   * other windows: one masked sample shows which they are.
   */
  async score(samples, isWhole) {
    const length = samples.length + (isWhole ? 0 : 1);
    const [input, mask] = [new Float32Array(length), new BigInt64Array(length)];
    input.set(samples);
    mask.fill(1n, 0, samples.length);
    const { logits } = await this.session.run({
      input_values: new ort.Tensor("float32", input, [1, length]),
      attention_mask: new ort.Tensor("int64", mask, [1, length]),
    });
    const values = logits.data;
    const answers = [];
    for (let place = 0; place < values.length; place += this.numLabels) {
      answers.push(this.probabilities(values.subarray(place, place + this.numLabels)));
    }
    return answers;
  }

  probabilities(logits) {
    if (!logits.every(Number.isFinite)) throw new Error("The model returns NaN or infinite numbers. Export it anew.");
    if (this.isMultiLabel) return logits.map((logit) => 1 / (1 + Math.exp(-logit)));
    const most = Math.max(...logits);
    const powers = logits.map((logit) => Math.exp(logit - most));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }
}

async function fetchWhole(url, progress) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The page cannot load ${url.pathname}: status ${response.status}.`);
  const total = Number(response.headers.get("Content-Length"));
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    // A server that compresses gives the compressed length
    if (total) progress(Math.min(1, size / total));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
