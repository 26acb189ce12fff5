// SRT of words with times, cut as `dualtk transcribe --output-format srt` cuts it.

const LETTERS = 84; // two lines of 42
const SECONDS = 7;
const PAUSE = 0.6; // seconds between words of different subtitles

function clock(seconds) {
  const milliseconds = Math.round(seconds * 1000);
  const digits = (value, count) => String(Math.floor(value)).padStart(count, "0");
  const [hours, minutes] = [milliseconds / 3600000, (milliseconds / 60000) % 60];
  return `${digits(hours, 2)}:${digits(minutes, 2)}:${digits((milliseconds / 1000) % 60, 2)},${digits(milliseconds % 1000, 3)}`;
}

function cues(words) {
  const found = [];
  let own = [];
  for (const word of words) {
    const letters = [...own, word].map((one) => one.word).join(" ").length;
    const isNew = own.length > 0
      && (letters > LETTERS || word.end - own[0].start > SECONDS || word.start - own.at(-1).end >= PAUSE);
    if (isNew) {
      found.push(own);
      own = [];
    }
    own.push(word);
  }
  return own.length > 0 ? [...found, own] : found;
}

export function srt(segments) {
  const all = segments.flatMap((segment) => cues(segment.words));
  return all
    .map((cue, index) => {
      const text = cue.map((word) => word.word).join(" ");
      return `${index + 1}\n${clock(cue[0].start)} --> ${clock(cue.at(-1).end)}\n${text}\n`;
    })
    .join("\n");
}
