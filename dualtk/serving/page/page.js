// The page: its buttons, and one stream at a time from a source of audio to the transcript.

import { openFile, openMicrophone } from "./files.js";
import { Meter, Waveform } from "./meter.js";
import { Speech } from "./speech.js";
import { srt } from "./subtitles.js";
import { Transcript } from "./transcript.js";

const at = (id) => document.getElementById(id);
const meter = new Meter();
const waveform = new Waveform(at("waveform"));
const transcript = new Transcript(at("transcript"), at("spoken"));
let token = sessionStorage.getItem("dualtk.token") ?? "";
let stop = null; // ends what is running

function say(text, kind = "news") {
  at("status").textContent = text;
  at("status").dataset.kind = kind;
}

async function about() {
  const answer = await fetch("about", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  const content = await answer.json();
  at("token-form").hidden = answer.status !== 401;
  if (!answer.ok) throw new Error(content.error.message);
  return content;
}

async function describe() {
  try {
    const found = await about();
    at("model").textContent = found.name;
    const chunk = Math.round(found.chunk_seconds * 1000);
    const facts = [`${(found.parameters / 1e6).toFixed(1)} M parameters`, `chunks of ${chunk} ms`];
    if (found.language) facts.unshift(`language: ${found.language}`);
    at("facts").textContent = facts.join(" · ");
    at("card").textContent = found.card;
    at("about").hidden = !found.card;
    const modes = [...found.modes].sort((one, other) => (other === "two-pass") - (one === "two-pass"));
    at("mode").replaceChildren(...modes.map((mode) => new Option(mode, mode)));
    say(found.refusal ?? "Ready.");
  } catch (error) {
    say(error.message, "fault");
  }
}

async function run(open) {
  if (stop) return;
  let isEnded = false;
  let source = null;
  let speech = null;
  stop = () => {
    isEnded = true;
    source?.stop();
    speech?.finish();
  };
  at("microphone").setAttribute("aria-pressed", "true");
  at("microphone").textContent = "Stop";
  at("file").disabled = true;
  at("mode").disabled = true;
  try {
    say("Opening the audio …");
    source = await open(() => speech.hasRoom());
    speech = new Speech(at("mode").value, source.rate, token, (message) => {
      if (message.is_final) transcript.final(message);
      else transcript.progress(message);
      if (!message.is_final) meter.understood(message.decoded, message.latency);
      at("legend").hidden = at("download").disabled = at("clear").disabled = transcript.finals.length === 0;
    });
    await speech.opened;
    transcript.begin();
    meter.reset(source.rate);
    waveform.reset();
    say("Listening.");
    if (!isEnded) {
      const started = source.start((samples) => {
        speech.send(samples);
        meter.recorded(samples.length);
        waveform.add(samples, source.rate);
      });
      if (open.ends) started.then(() => speech.finish());
    }
    const { isDone, reason } = await speech.closed;
    if (isDone) say(reason || "Finished.");
    else say(reason ? `The server has closed the stream: ${reason}` : "The connection has ended.", "fault");
  } catch (error) {
    let reason = error.message;
    if (speech) reason = await about().then((found) => found.refusal ?? "The server has refused the stream.", (fault) => fault.message);
    say(reason, "fault");
  } finally {
    await source?.stop();
    stop = null;
    at("microphone").setAttribute("aria-pressed", "false");
    at("microphone").textContent = "Start microphone";
    at("file").disabled = false;
    at("file").value = "";
    at("mode").disabled = false;
  }
}

function toggleMicrophone() {
  if (stop) stop();
  else run(openMicrophone);
}

at("microphone").addEventListener("click", toggleMicrophone);
at("file").addEventListener("change", () => {
  const file = at("file").files[0];
  if (!file) return;
  const open = (hasRoom) => openFile(file, at("in-time").checked, hasRoom);
  open.ends = true;
  run(open);
});
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("dualtk.token", token);
  describe();
});
at("download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([srt(transcript.finals)], { type: "application/x-subrip" }));
  link.download = "transcript.srt";
  link.click();
  URL.revokeObjectURL(link.href);
});
at("clear").addEventListener("click", () => {
  transcript.clear();
  at("legend").hidden = at("download").disabled = at("clear").disabled = true;
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && stop) stop();
  if (event.key.toLowerCase() === "m" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) toggleMicrophone();
});

describe();
