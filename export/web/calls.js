// Copyright 2026 The polyaudio authors. Licensed under the MIT License.
// Functions of a worker that a page calls as if they were its own.

/** In the worker: answer calls of these functions, one after the other. */
export function answerCalls(functions) {
  let queue = Promise.resolve();
  onmessage = ({ data: { number, name, argument } }) => {
    queue = queue.then(async () => {
      try {
        postMessage({ number, result: await functions[name](argument) });
      } catch (error) {
        postMessage({ number, error: inWords(error) });
      }
    });
  };
}

function inWords(error) {
  const said = String(error?.message ?? error);
  // WebAssembly throws a mere number where memory is missing
  const isMemory = typeof error === "number" || /out of memory|bad_alloc|allocation|Aborted/i.test(said);
  return isMemory ? `This device has too little memory for the model. Close other pages. (${said})` : said;
}

/** In the page: a worker whose functions can be called. */
export class Caller {
  /** onProgress: a function of messages that are no answers. */
  constructor(url, onProgress = () => {}) {
    // A worker from a blob has the content security policy of the page; one from a file would have none
    const start = new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(start), { type: "module" });
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data }) => {
      if (data.number === undefined) onProgress(data);
      else this.settle(data);
    };
    this.worker.onerror = (event) => {
      const error = event.message || "A part of the page cannot be loaded.";
      for (const number of this.waiting.keys()) this.settle({ number, error });
    };
  }

  settle({ number, result, error }) {
    const { resolve, reject } = this.waiting.get(number);
    this.waiting.delete(number);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  }

  /** Call a function. The buffers of `moved` arrays belong to the worker afterwards. */
  call(name, argument, moved = []) {
    const number = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject });
      this.worker.postMessage({ number, name, argument }, moved);
    });
  }
}
