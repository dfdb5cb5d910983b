// A metric with a small plot of its last values.

import { element, setText, svg } from "./dom.js";

const POINTS = 60;
const WIDTH = 120;
const HEIGHT = 32;

export class Plot {
  // `shown` formats a value.
  constructor(title, shown) {
    this.title = title;
    this.shown = shown;
    this.values = [];
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "curve" });
    this.picture = svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none" },
      this.area,
      this.line,
    );
    this.number = element("span", { class: "number" }, "–");
    this.peak = element("span", { class: "peak" });
    this.node = element(
      "li",
      { class: "plot" },
      element("span", { class: "title" }, title),
      this.number,
      this.picture,
      this.peak,
    );
  }

  // An unknown value (null) leaves a gap.
  add(value) {
    this.values.push(value);
    if (this.values.length > POINTS) this.values.shift();
    const known = this.values.filter((one) => one !== null);
    const top = Math.max(...known, 0);
    const text = value === null ? "–" : this.shown(value);
    setText(this.number, text);
    setText(this.peak, known.length > 1 ? `peak ${this.shown(top)}` : "");
    this.picture.setAttribute("aria-label", `${this.title}: ${text}; peak ${this.shown(top)}`);
    this.draw(top || 1);
  }

  draw(top) {
    const runs = [];
    let run = null;
    this.values.forEach((value, index) => {
      if (value === null) {
        run = null;
        return;
      }
      const x = WIDTH - ((this.values.length - 1 - index) * WIDTH) / (POINTS - 1);
      const y = HEIGHT - 2 - (value / top) * (HEIGHT - 5);
      if (!run) runs.push((run = []));
      run.push([x.toFixed(1), y.toFixed(1)]);
    });
    const curve = (points) => points.map((point) => point.join(" ")).join("L");
    this.line.setAttribute("d", runs.map((points) => `M${curve(points)}`).join(""));
    this.area.setAttribute(
      "d",
      runs
        .map((points) => `M${points[0][0]} ${HEIGHT}L${curve(points)}L${points.at(-1)[0]} ${HEIGHT}Z`)
        .join(""),
    );
  }
}
