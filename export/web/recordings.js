// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Recordings whose parts can be read: files, and what a microphone has heard.

import { openWav } from "./wav.js";

// A browser decodes a whole file at once. More sound than this does not fit into the memory of many devices.
const MOST_SECONDS = 5400;

/**
 * Open a file that a person has chosen.
 *
 * rate: the model's, at which files other than WAV are decoded. Returns {name, file, rate, duration, frames, read};
 * `read` is an async function of the first frame and the one after the last, and returns the mean of the channels,
 * Float32Array.
 */
export async function openRecording(file, rate) {
  const wav = await openWav(file);
  const recording = wav ?? (await decode(file, rate));
  if (!recording.frames) throw new Error(`${file.name} has no sound.`);
  return { name: file.name, file, ...recording, duration: recording.frames / recording.rate };
}

async function decode(file, rate) {
  const seconds = await playedSeconds(file);
  if (seconds > MOST_SECONDS) {
    throw new Error(
      `${file.name} is ${(seconds / 3600).toFixed(1)} hours long, and a browser holds all of it in memory. ` +
        "Convert it to WAV, which is read part by part.",
    );
  }
  let buffer;
  try {
    const bytes = await file.arrayBuffer();
    buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  } catch (error) {
    const isUnknown = error.name === "EncodingError";
    throw new Error(
      isUnknown
        ? `This browser cannot decode ${file.name}. Is it sound? Convert it to WAV, FLAC or MP3.`
        : `${file.name} cannot be read, or does not fit into memory (${error.message}). Long recordings fit as WAV.`,
    );
  }
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  const read = async (start, stop) => {
    const samples = channels[0].slice(start, stop);
    for (const channel of channels.slice(1)) {
      for (let frame = 0; frame < samples.length; frame++) samples[frame] += channel[start + frame];
    }
    return samples.map((sum) => sum / channels.length);
  };
  return { rate, frames: buffer.length, read };
}

// The length of a file as a player finds it, or 0 where it does not know
function playedSeconds(file) {
  const player = document.createElement("audio");
  player.preload = "metadata";
  return new Promise((resolve) => {
    const done = () => {
      URL.revokeObjectURL(player.src);
      resolve(Number.isFinite(player.duration) ? player.duration : 0);
    };
    player.onloadedmetadata = player.onerror = done;
    player.src = URL.createObjectURL(file);
  });
}
