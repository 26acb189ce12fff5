// How late results come, and what the audio looks like.

const EDGE = 0.0125; // seconds behind its frame that the window of a feature frame reaches
const KEPT = 200; // latencies of which the percentile is taken
const WAVE_SECONDS = 10;
const BARS_A_SECOND = 25;

export class Meter {
  constructor() {
    this.elements = Object.fromEntries(
      ["recorded", "understood", "felt", "felt-95", "served"].map((id) => [id, document.getElementById(id)]),
    );
    this.reset(16000);
  }

  reset(rate) {
    this.rate = rate;
    this.samples = 0;
    this.arrivals = []; // [seconds of audio, when they were there]
    this.latencies = [];
    for (const element of Object.values(this.elements)) element.textContent = "–";
  }

  recorded(count) {
    this.samples += count;
    const seconds = this.samples / this.rate;
    this.arrivals.push([seconds, performance.now()]);
    this.elements.recorded.textContent = `${seconds.toFixed(1)} s`;
  }

  understood(decoded, served) {
    this.elements.understood.textContent = `${decoded.toFixed(1)} s`;
    while (this.arrivals.length > 1 && this.arrivals[0][0] < decoded + EDGE) this.arrivals.shift();
    if (served === null || this.arrivals.length === 0) return; // audio that came ahead of real time has no latency
    this.latencies.push(performance.now() - this.arrivals[0][1]);
    if (this.latencies.length > KEPT) this.latencies.shift();
    const ordered = [...this.latencies].sort((one, other) => one - other);
    const late = ordered[Math.min(ordered.length - 1, Math.floor(0.95 * ordered.length))];
    this.elements.felt.textContent = `${Math.round(this.latencies.at(-1))} ms`;
    this.elements["felt-95"].textContent = `${Math.round(late)} ms`;
    this.elements.served.textContent = `${Math.round(served * 1000)} ms`;
  }
}

export class Waveform {
  constructor(canvas) {
    this.canvas = canvas;
    this.bars = [];
    this.isAsked = false;
    addEventListener("resize", () => this.ask());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.ask());
  }

  reset() {
    this.bars = [];
    this.ask();
  }

  add(samples, rate) {
    const size = Math.round(rate / BARS_A_SECOND);
    for (let begin = 0; begin < samples.length; begin += size) {
      let peak = 0;
      for (const sample of samples.subarray(begin, begin + size)) peak = Math.max(peak, Math.abs(sample));
      this.bars.push(peak);
    }
    this.bars.splice(0, Math.max(0, this.bars.length - WAVE_SECONDS * BARS_A_SECOND));
    this.ask();
  }

  ask() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.draw();
    });
  }

  draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(canvas).color;
    const step = canvas.width / (WAVE_SECONDS * BARS_A_SECOND);
    const left = canvas.width - this.bars.length * step;
    this.bars.forEach((peak, index) => {
      const height = Math.max(ratio, Math.min(1, Math.sqrt(peak)) * canvas.height * 0.9);
      context.fillRect(left + index * step, (canvas.height - height) / 2, Math.max(1, step * 0.6), height);
    });
  }
}
