// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Computes the spectrogram of the part of a recording that is shown, also while the other worker listens.

import { answerCalls } from "./calls.js";
import { partPicture } from "./spectrogram.js";

answerCalls({
  picture: ({ samples, rate, columns, loudest }) => partPicture(samples, rate, columns, loudest),
});
