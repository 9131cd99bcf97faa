"use strict";
// Filters, order, slider and enlarged pictures. The page is complete without it.
const controls = document.getElementById("controls");
const rows = document.getElementById("rows");
const viewer = document.getElementById("viewer");

// --- which images are shown, and in which order
const images = rows ? [...rows.children] : [];

function choose() {
  const { tag, split, order } = controls.elements;
  for (const image of images) {
    const tags = JSON.parse(image.dataset.tags);
    image.hidden = (tag.value && !tags.includes(tag.value)) || Boolean(split?.value && image.dataset.split !== split.value);
  }
  const sign = { worst: 1, best: -1 }[order?.value] ?? 0;
  const score = (image) => Number(image.dataset.score ?? NaN);
  const known = (image) => Number.isNaN(score(image)) ? 1 : 0;
  const sorted = sign ? [...images].sort((a, b) => known(a) - known(b) || sign * (score(a) - score(b))) : images;
  rows.append(...sorted);
  const shown = images.filter((image) => !image.hidden).length;
  document.getElementById("count").textContent = `${shown} of ${images.length} images`;
}

// --- maps cut at the reader's threshold
const GRAY = [0.299, 0.587, 0.114], COLOUR = 0.7, EDGE = 20;
const opened = new Map();

function pixels(image, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

function load(address) {
  const image = new Image();
  image.src = address;
  return image.decode().then(() => image);
}

// The gray image, and each map at the size of the picture.
async function open(picture) {
  const image = await load(picture.closest(".row").querySelector("img").src);
  const stack = await load(picture.dataset.maps);
  const colours = picture.dataset.colours.split(" ").map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  const width = image.naturalWidth, height = image.naturalHeight;
  const colour = pixels(image, width, height);
  const gray = new Float32Array(width * height);
  for (let i = 0; i < gray.length; i++) {
    gray[i] = GRAY[0] * colour[4 * i] + GRAY[1] * colour[4 * i + 1] + GRAY[2] * colour[4 * i + 2];
  }
  const tall = stack.naturalHeight / colours.length;
  const maps = await Promise.all(colours.map(async (_, at) => {
    const map = await createImageBitmap(stack, 0, at * tall, stack.naturalWidth, tall);
    return pixels(map, width, height);
  }));
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", picture.alt);
  return { canvas, gray, maps, colours };
}

function winners({ gray, maps }, threshold) {
  const labels = new Uint8Array(gray.length);
  for (let i = 0; i < gray.length; i++) {
    let highest = 255 * threshold;
    for (let at = 0; at < maps.length; at++) {
      if (maps[at][4 * i] > highest) {
        highest = maps[at][4 * i];
        labels[i] = at + 1;
      }
    }
  }
  return labels;
}

function paint(found, threshold) {
  const { canvas, gray, colours } = found;
  const labels = winners(found, threshold);
  const context = canvas.getContext("2d", { willReadFrequently: true }); // written pixel by pixel, so kept off the GPU
  const out = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < gray.length; i++) {
    const left = i % canvas.width ? labels[i - 1] : labels[i], above = i >= canvas.width ? labels[i - canvas.width] : labels[i];
    const edge = left !== labels[i] || above !== labels[i];
    for (let c = 0; c < 3; c++) {
      const mixed = labels[i] ? (1 - COLOUR) * gray[i] + COLOUR * colours[labels[i] - 1][c] : gray[i];
      out.data[4 * i + c] = edge ? EDGE : mixed;
    }
    out.data[4 * i + 3] = 255;
  }
  context.putImageData(out, 0, 0);
}

async function recolour(picture) {
  if (!opened.has(picture)) opened.set(picture, open(picture));
  const found = await opened.get(picture);
  const threshold = Number(controls.elements.threshold.value);
  paint(found, threshold);
  if (!found.canvas.isConnected) {
    picture.hidden = true;
    picture.style.display = "none";
    picture.after(found.canvas);
  }
  const caption = picture.closest("figure").querySelector("figcaption");
  caption.firstChild.textContent = caption.firstChild.textContent.replace(/above [\d.]+/, `above ${threshold.toFixed(2)}`);
}

function restore(picture) {
  opened.get(picture)?.then((found) => found.canvas.remove());
  opened.delete(picture);
  picture.hidden = false;
  picture.style.display = "";
  const caption = picture.closest("figure").querySelector("figcaption");
  const own = Number(picture.dataset.threshold).toFixed(2);
  caption.firstChild.textContent = caption.firstChild.textContent.replace(/above [\d.]+/, `above ${own}`);
}

const cuts = [...document.querySelectorAll("img[data-maps]")];
const seen = new Set();
let moved = false;
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const figure = target.querySelector("img[data-maps]");
    isIntersecting ? seen.add(figure) : seen.delete(figure);
    if (isIntersecting && moved) recolour(figure);
  }
}, { rootMargin: "200px" });
for (const picture of cuts) watcher.observe(picture.closest("figure"));

function describe() {
  const { threshold, chosen } = controls.elements;
  const at = Number(threshold.value).toFixed(2);
  const curves = Object.entries(JSON.parse(threshold.dataset.curves)).filter(([, curve]) => curve[at]);
  chosen.value = [at, ...curves.map(([name, curve]) => `${name} ${curve[at]} % mIoU`)].join(" · ");
  const chart = document.getElementById("thresholds");
  if (!chart) return;
  const { low, high, left, right } = chart.dataset;
  const x = Number(left) + (at - low) / (high - low) * (right - left);
  let line = chart.querySelector(".chosen");
  if (!line) {
    line = chart.querySelector(".mark").cloneNode();
    line.setAttribute("class", "chosen");
    chart.querySelector("svg").append(line);
  }
  for (const name of ["x1", "x2"]) line.setAttribute(name, x);
}

if (controls && rows) {
  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("change", choose);
  choose();
  if (controls.elements.threshold) {
    describe();
    controls.elements.threshold.addEventListener("input", () => {
      moved = true;
      describe();
      for (const picture of seen) recolour(picture);
    });
    controls.addEventListener("reset", () => setTimeout(() => {
      moved = false;
      describe();
      choose();
      cuts.forEach(restore);
    }));
  }
}

// --- enlarged pictures: left and right in a row, up and down between images
const large = viewer.insertBefore(new Image(), viewer.querySelector("p"));
let current = null;

function show(button) {
  current = button;
  const picture = button.querySelector("canvas") ?? button.querySelector("img");
  large.src = picture.toDataURL?.() ?? picture.src;
  const caption = button.closest("figure").querySelector("figcaption")?.textContent ?? "";
  const title = button.closest("article")?.querySelector("h3").textContent ?? "";
  large.alt = button.querySelector("img").alt;
  viewer.querySelector("p").textContent = [caption, title].filter(Boolean).join(" — ");
  if (!viewer.open) viewer.showModal();
}

function visible() {
  return [...document.querySelectorAll(".zoom")].filter((button) => button.offsetParent !== null);
}

function step(by) {
  const all = visible();
  const next = all[all.indexOf(current) + by];
  if (next) show(next);
}

function jump(by) {
  const lines = [...document.querySelectorAll(".row")].filter((row) => row.offsetParent !== null);
  const line = lines.indexOf(current.closest(".row"));
  const place = [...current.closest(".row")?.querySelectorAll(".zoom") ?? []].indexOf(current);
  const next = lines[line + by]?.querySelectorAll(".zoom");
  if (line >= 0 && next?.length) show(next[Math.min(place, next.length - 1)]);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".zoom");
  if (button) show(button);
  if (event.target === viewer) viewer.close();
});
viewer.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [step, -1], ArrowRight: [step, 1], ArrowUp: [jump, -1], ArrowDown: [jump, 1] };
  if (event.key in moves) {
    event.preventDefault();
    const [move, by] = moves[event.key];
    move(by);
  }
});
viewer.addEventListener("close", () => current?.focus());
for (const button of viewer.querySelectorAll("[data-move]")) {
  button.addEventListener("click", () => step(Number(button.dataset.move)));
}
