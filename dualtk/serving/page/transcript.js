// Segments on the page: text that grows, and in its place what full context made of it.

const SURE = [0.5, 0.7, 0.85, 0.95]; // confidences below which words are shaded, most shade first

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
}

// Which words stay, go and come from one text to another: the longest common subsequence. [kind, index] in order.
export function changes(before, after) {
  const length = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      length[i][j] = before[i] === after[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      found.push(["same", j++]);
      i++;
    } else if (i < before.length && (j === after.length || length[i + 1][j] >= length[i][j + 1])) {
      found.push(["gone", i++]);
    } else {
      found.push(["new", j++]);
    }
  }
  return found;
}

function shown(word) {
  const level = SURE.findIndex((limit) => word.confidence < limit);
  const attributes = { class: "word", title: `${Math.round(word.confidence * 100)} % sure` };
  return element("span", level < 0 ? attributes : { ...attributes, "data-sure": level }, word.word);
}

export class Transcript {
  constructor(list, spoken) {
    this.list = list;
    this.spoken = spoken;
    this.clear();
  }

  clear() {
    this.finals = [];
    this.list.replaceChildren();
    this.spoken.replaceChildren();
    this.begin();
  }

  // Numbers of segments, and their times, are those of one stream.
  begin() {
    for (const one of this.list.querySelectorAll(".growing")) one.classList.remove("growing");
    this.items = new Map();
    this.offset = this.finals.length > 0 ? Math.max(...this.finals.map((one) => one.end)) : 0;
  }

  item(number) {
    if (!this.items.has(number)) {
      const item = element("li");
      item.append(element("time"), element("p"));
      // A segment of which only full context made something comes when the next has begun.
      const later = [...this.items.keys()].filter((other) => other > number);
      const next = later.length > 0 ? this.items.get(Math.min(...later)) : null;
      this.items.set(number, item);
      this.list.insertBefore(item, next);
    }
    return this.items.get(number);
  }

  progress(message) {
    if (!message.text) return;
    const paragraph = this.item(message.segment).querySelector("p");
    paragraph.className = "growing";
    paragraph.textContent = message.text;
    this.follow(paragraph);
  }

  final(message) {
    const item = this.item(message.segment);
    if (!message.text && !message.first_pass?.text) {
      item.remove();
      this.items.delete(message.segment);
      return;
    }
    const words = message.words;
    const before = message.first_pass ? message.first_pass.words.map((one) => one.word) : words.map((one) => one.word);
    const paragraph = item.querySelector("p");
    paragraph.className = "";
    paragraph.replaceChildren();
    for (const [kind, index] of changes(before, words.map((one) => one.word))) {
      const word = kind === "gone" ? element("del", {}, before[index]) : shown(words[index]);
      const wrapped = kind === "new" ? element("ins") : word;
      if (kind === "new") wrapped.append(word);
      paragraph.append(wrapped, " ");
    }
    const time = item.querySelector("time");
    time.textContent = clock(message.start + this.offset);
    if (message.text) {
      const moved = words.map((one) => ({ ...one, start: one.start + this.offset, end: one.end + this.offset }));
      this.finals.push({ text: message.text, start: message.start + this.offset, end: message.end + this.offset, words: moved });
      this.spoken.append(element("p", {}, message.text));
    }
    this.follow(paragraph);
  }

  follow(paragraph) {
    const isNearEnd = innerHeight + scrollY > document.body.scrollHeight - 200;
    if (isNearEnd && paragraph.getBoundingClientRect().bottom > innerHeight) paragraph.scrollIntoView({ block: "end" });
  }
}
