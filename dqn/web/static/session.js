// A run's websocket: commands out, moments in. A moment is the length of its JSON, the JSON, and
// PNGs one after the other (dqn/web/messages.py).

const utf8 = new TextDecoder();

export async function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const state = JSON.parse(utf8.decode(new Uint8Array(buffer, 4, length)));
  let begin = 4 + length;
  const decoding = state.pictures.map(([name, size]) => {
    const blob = new Blob([new Uint8Array(buffer, begin, size)], { type: "image/png" });
    begin += size;
    return createImageBitmap(blob).then((bitmap) => [name, bitmap]);
  });
  const pictures = await Promise.all(decoding);
  const named = (wanted) => pictures.filter(([name]) => name === wanted).map(([, it]) => it);
  return { state, screens: named("screen"), stack: named("stack")[0], saliency: named("saliency")[0] };
}

export class Session {
  constructor(number, name, onMoment, onEnd) {
    this.number = number;
    this.name = name;
    this.onMoment = onMoment;
    this.onEnd = onEnd;
    this.moment = null; // the newest
    this.undrawn = 0;
    this.unsaved = []; // settings that have been asked for: command, value, how many commands then
    this.values = []; // the highest value at each step of this game
    this.ended = null;
    this.open();
  }

  open() {
    const socket = new WebSocket(`ws://${location.host}/play/${this.number}`);
    socket.binaryType = "arraybuffer";
    let order = Promise.resolve(); // moments are shown in the order in which they came
    socket.onmessage = ({ data }) => {
      const unpacked = unpack(data);
      order = order.then(async () => this.receive(await unpacked)).catch((error) => {
        console.error(error);
        socket.close(); // the notice says so
      });
    };
    socket.onopen = () => this.restore();
    socket.onclose = (event) => {
      this.ended = event.reason || "the connection to the program is closed";
      this.onEnd(this);
    };
    this.socket = socket;
    this.ended = null;
    this.undrawn = 0;
    this.asked = 0;
  }

  receive(moment) {
    const { state } = moment;
    this.save(state.obeyed);
    const before = this.moment?.state;
    if (!before || before.seed !== state.seed || state.step < before.step) this.values = [];
    const known = state.numbers.filter((number) => number !== null);
    this.values[state.step] = known.reduce((most, number) => Math.max(most, number), -Infinity);
    this.undrawn += 1;
    this.moment = moment;
    this.onMoment(this);
  }

  // The page has drawn what came: the game may go on. A page that nobody sees draws nothing.
  drawn() {
    for (; this.undrawn > 0; this.undrawn -= 1) this.send("drawn", null);
  }

  ask(command, value) {
    this.send(command, value);
    const lasting = ["seed", "checkpoint", "epsilon", "speed", "saliency"].includes(command);
    if (lasting) this.unsaved.push([command, value, this.asked]);
  }

  // A setting is kept once it has been obeyed: one that is refused would be so at each reload.
  save(obeyed) {
    const settings = this.settings();
    while (this.unsaved.length && this.unsaved[0][2] <= obeyed) {
      const [command, value] = this.unsaved.shift();
      settings[command] = value;
      try {
        sessionStorage.setItem(this.key(), JSON.stringify(settings));
      } catch {} // the browser keeps nothing for pages
    }
  }

  // After a reload the page continues with the settings it had.
  restore() {
    for (const [command, value] of Object.entries(this.settings())) this.send(command, value);
  }

  settings() {
    try {
      return JSON.parse(sessionStorage.getItem(this.key()) || "{}");
    } catch {
      return {};
    }
  }

  key() {
    return `watch ${this.name}`;
  }

  send(command, value) {
    if (this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ do: command, value }));
      if (command !== "drawn") this.asked += 1;
    }
  }
}
