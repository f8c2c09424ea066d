// The picture of `Clicker`: clicks go to Python, outlines come back.
const SVG = "http://www.w3.org/2000/svg";

function render({ model, el }) {
  const [width, height] = model.get("size");
  const root = document.createElement("div");
  root.style.cssText = `position:relative;display:inline-block;max-width:100%;cursor:crosshair;line-height:0`;
  const image = document.createElement("img");
  image.src = model.get("picture");
  image.style.cssText = `width:${Math.min(width, 800)}px;max-width:100%`;
  image.draggable = false;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none";
  const name = document.createElement("span");
  name.style.cssText = "font:13px sans-serif;margin-right:1em";
  const clear = document.createElement("button");
  clear.textContent = "clear";
  root.append(image, svg);
  const line = document.createElement("div");
  line.append(name, clear);
  el.append(root, line);

  function change(clicks) {
    model.set("clicks", clicks);
    model.save_changes();
    draw();
  }

  function draw() {
    svg.replaceChildren();
    const shown = model.get("shown");
    if (shown.path) {
      const path = document.createElementNS(SVG, "path");
      const drawn = { d: shown.path, fill: shown.colour, stroke: shown.colour, "fill-rule": "evenodd", "fill-opacity": 0.45 };
      for (const [key, value] of Object.entries(drawn)) path.setAttribute(key, value);
      svg.append(path);
    }
    for (const [x, y, sign] of model.get("clicks")) {
      const dot = document.createElementNS(SVG, "circle");
      const radius = Math.max(width, height) / 120 + 1;
      for (const [key, value] of Object.entries({ cx: x, cy: y, r: radius, stroke: "white", fill: sign ? "#16a34a" : "#dc2626" }))
        dot.setAttribute(key, value);
      svg.append(dot);
    }
    name.textContent = shown.name || "click on an object";
  }

  root.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    const x = Math.min(width - 1, Math.max(0, ((event.clientX - box.left) / box.width) * width));
    const y = Math.min(height - 1, Math.max(0, ((event.clientY - box.top) / box.height) * height));
    change([...model.get("clicks"), [Math.floor(x), Math.floor(y), event.shiftKey ? 0 : 1]]);
  });
  clear.addEventListener("click", () => change([]));
  model.on("change:shown", draw);
  draw();
}

export default { render };
