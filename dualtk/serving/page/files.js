// Where audio comes from. Each source has `rate` in Hz, `start(take)` with take(samples), and `stop()`.

const RATE = 16000;
const FILE_BLOCK = 0.08; // seconds

export async function openMicrophone() {
  if (!navigator.mediaDevices) throw new Error("A browser gives the microphone to pages of https or localhost only.");
  const untouched = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: untouched });
  let context = new AudioContext({ sampleRate: RATE });
  let input;
  try {
    input = context.createMediaStreamSource(stream);
  } catch { // a browser that does not resample: the server does
    await context.close();
    context = new AudioContext();
    input = context.createMediaStreamSource(stream);
  }
  await context.audioWorklet.addModule("capture.js");
  const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  return {
    rate: context.sampleRate,
    start(take) {
      node.port.onmessage = (event) => take(event.data);
      input.connect(node);
      return context.resume();
    },
    async stop() {
      input.disconnect();
      node.port.onmessage = null;
      for (const track of stream.getTracks()) track.stop();
      if (context.state !== "closed") await context.close();
    },
  };
}

// The rate of a WAV, so that its samples are taken as they are; others are resampled by the browser.
function rateOf(content) {
  const view = new DataView(content);
  const isWave = content.byteLength > 28 && view.getUint32(0) === 0x52494646 && view.getUint32(8) === 0x57415645;
  const rate = isWave && view.getUint32(12) === 0x666d7420 ? view.getUint32(24, true) : RATE;
  return rate >= 8000 && rate <= 96000 ? rate : RATE;
}

function mono(buffer) {
  const sum = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let index = 0; index < sum.length; index++) sum[index] += samples[index] / buffer.numberOfChannels;
  }
  return sum;
}

export async function openFile(file, inTime, hasRoom) {
  const content = await file.arrayBuffer();
  const rate = rateOf(content);
  const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(content);
  const samples = mono(buffer);
  const size = Math.round(FILE_BLOCK * rate);
  let stopped = false;
  let context = null;
  return {
    rate,
    async start(take) {
      if (inTime) {
        context = new AudioContext();
        const player = context.createBufferSource();
        player.buffer = buffer;
        player.connect(context.destination);
        player.start();
        await context.resume();
      }
      const began = performance.now();
      for (let begin = 0; begin < samples.length && !stopped; begin += size) {
        const end = Math.min(samples.length, begin + size);
        const early = inTime ? began + (end / rate) * 1000 - performance.now() : 0;
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
        while (!stopped && !hasRoom()) await new Promise((resolve) => setTimeout(resolve, 20));
        if (!stopped) take(samples.slice(begin, end));
      }
    },
    async stop() {
      stopped = true;
      if (context && context.state !== "closed") await context.close();
    },
  };
}
