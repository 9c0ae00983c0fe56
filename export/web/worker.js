// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Listens to recordings beside the page, so that the page stays responsive. The page calls the functions of `calls`.

import { answerCalls } from "./calls.js";
import { EventDetector } from "./event_rules.js";
import { loadModel } from "./model.js";
import { Overview } from "./overview.js";
import { concatenated, Resampler } from "./resampling.js";
import { SpectrogramStream } from "./spectrogram.js";
import { TimelineStream, WindowLayout } from "./timeline.js";

let [settings, model, layout, recording] = [null, null, null, null];

const calls = {
  async load(exported) {
    settings = exported;
    layout = new WindowLayout(settings.timeline);
    model = await loadModel(settings, (share) => postMessage({ share }));
  },

  /** Begin a recording at a sampling rate. */
  begin(rate) {
    const [numLabels, cellSeconds] = [settings.labels.length, layout.cell / settings.sampling_rate];
    const score = async (samples, isWhole) => {
      const answers = await model.score(samples, isWhole);
      // The answer for a clip is the one for all of its cells
      if (!model.labelsFrames) return Array(layout.weights().length).fill(answers[0]);
      // The masked sample may begin another frame
      const isOwn = (_, index) => index === 0 || index * layout.answer <= samples.length - settings.shortest;
      return isWhole ? answers : answers.filter(isOwn);
    };
    recording = {
      resampler: new Resampler(rate, settings.sampling_rate),
      timeline: new TimelineStream(layout, settings.shortest, numLabels, score),
      detector: new EventDetector(settings.event_rules, numLabels, cellSeconds),
      overview: new Overview(numLabels, cellSeconds),
      spectrogram: new SpectrogramStream(settings.sampling_rate),
      recent: new Float32Array(0),
    };
  },

  /** Add samples, Float32Array at the rate of the recording; returns the events that are final now. */
  async push(block) {
    return add(recording.resampler.push(block));
  },

  /** End the recording of `duration` seconds; returns the remaining events and what was found. */
  async finish(duration) {
    const events = await add(recording.resampler.finish());
    const cells = await recording.timeline.finish();
    recording.overview.add(cells);
    const samples = recording.timeline.samples / settings.sampling_rate;
    // The last sample at the rate of the model may reach a little beyond the end
    const end = samples - duration < 1 / settings.sampling_rate && samples > duration ? duration : samples;
    return [...events, ...recording.detector.push(cells), ...recording.detector.finish(end)];
  },

  /** What was found so far: means (labels), heat and scores of the leading labels, and the spectrogram. */
  found() {
    const { overview, spectrogram } = recording;
    return { means: overview.means(), ...overview.heat(), spectrogram: spectrogram.picture() };
  },

  /** The scores (labels) of what was just heard. */
  async listen() {
    const answers = await model.score(recording.recent, recording.recent.length < layout.size);
    const second = answers.slice(-Math.ceil(settings.sampling_rate / layout.answer));
    return second[0].map((_, label) => Math.max(...second.map((scores) => scores[label])));
  },

};

async function add(samples) {
  const { timeline, detector, overview, spectrogram } = recording;
  spectrogram.push(samples);
  recording.recent = concatenated(recording.recent, samples).slice(-layout.size);
  const cells = await timeline.push(samples);
  overview.add(cells);
  return detector.push(cells);
}

answerCalls(calls);
