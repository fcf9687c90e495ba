// Elements from plain calls. Text only ever becomes a text node: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p", {class: "x", onclick: f}, "text", child). null and false children are left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) set(element, name, value);
  element.append(...present(children));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "value") element.value = value;
  else element.setAttribute(name, value === true ? "" : value);
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Puts the children in place of what an element held. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

const PATHS = {
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M7.5 7.5h9v9h-9z",
  close: "M6 6l12 12M18 6 6 18",
  plus: "M12 5v14M5 12h14",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6z",
};

/** An element of a picture, as h() makes those of the page. */
export function draw(tag, properties = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) set(element, name, value);
  element.append(...present(children));
  return element;
}

/** A small drawing that stands beside words or an aria-label. */
export function icon(name) {
  const size = { viewBox: "0 0 24 24", width: 20, height: 20, class: "icon", "aria-hidden": "true" };
  return draw("svg", size, draw("path", { d: PATHS[name] }));
}

/** A button that copies the text it is asked for, and says so. */
export function copyButton(text, words) {
  const button = h("button", { class: "quiet small", type: "button" }, words.copy);
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text())) ? words.copied : words.not_copied;
    setTimeout(() => (button.textContent = words.copy), 1600);
  });
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text); // a page on plain http beyond loopback has no clipboard of its own
  }
}

function copiedByHand(text) {
  const area = h("textarea", { class: "unseen", value: text });
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  return isDone;
}
