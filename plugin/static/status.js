// Ask for the same page now and then and change only what differs, so that focus,
// selection and pictures stay. Without this script the page reloads itself.
"use strict";

const PAUSE_MS = 1000 * Number(document.body.dataset.live);

// A focused field or selected words are not taken away.
function inUse(node) {
  const active = document.activeElement;
  const chosen = document.getSelection();
  return (
    (active !== document.body && node.contains(active)) ||
    (chosen && !chosen.isCollapsed && node.contains(chosen.anchorNode))
  );
}

function copyAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

// Turn one node into the other, child by child where both have as many.
function turnInto(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const alike = old.nodeName === fresh.nodeName;
  if (alike && old.nodeType === Node.TEXT_NODE) {
    old.data = fresh.data;
  } else if (alike && old.childNodes.length === fresh.childNodes.length) {
    copyAttributes(old, fresh);
    const wanted = [...fresh.childNodes];
    [...old.childNodes].forEach((child, at) => turnInto(child, wanted[at]));
  } else if (!inUse(old)) {
    old.replaceWith(document.adoptNode(fresh));
  }
}

// The parts of a page come and go: they are told by their names.
function takeOver(page) {
  const main = document.getElementById("main");
  const parts = [...page.getElementById("main").children];
  const names = new Set(parts.map((part) => part.id));
  for (const old of [...main.children]) {
    if (!names.has(old.id) && !inUse(old)) old.remove();
  }
  parts.forEach((part, at) => {
    const old = document.getElementById(part.id);
    if (old) turnInto(old, part);
    else main.insertBefore(document.adoptNode(part), main.children[at] || null);
  });
  document.title = page.title;
}

async function look() {
  const answer = await fetch(location.href, { redirect: "manual" });
  if (answer.type === "opaqueredirect") location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
}

async function follow() {
  let lost = false;
  if (!document.hidden) await look().catch(() => (lost = true));
  document.getElementById("lost").hidden = !lost;
  setTimeout(follow, PAUSE_MS);
}

setTimeout(follow, PAUSE_MS);
