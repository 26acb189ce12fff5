// A live stream of the server: float samples there, results back.

const ROOM = 1 << 16; // bytes that may wait to be sent

function subprotocols(token) {
  const encoded = btoa(String.fromCharCode(...new TextEncoder().encode(token)));
  return ["dualtk", `dualtk.token.${encoded.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`];
}

export class Speech {
  constructor(mode, rate, token, heard) {
    const address = new URL("/", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.searchParams.set("mode", mode);
    address.searchParams.set("sample_rate", String(rate));
    this.socket = token ? new WebSocket(address, subprotocols(token)) : new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.isDone = false;
    this.opened = new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.closed = new Promise((end) => {
        this.socket.onclose = (event) => {
          reject(new Error("refused"));
          end({ isDone: this.isDone, reason: event.reason });
        };
      });
    });
    this.socket.onmessage = (event) => {
      if (event.data === "Done!") this.isDone = true;
      else heard(JSON.parse(event.data));
    };
  }

  hasRoom() {
    return this.socket.bufferedAmount < ROOM;
  }

  send(samples) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(samples);
  }

  finish() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send("Done");
  }
}
