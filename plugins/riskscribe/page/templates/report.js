"use strict";
// The report page: evidence beside every sentence, and a review that is kept in this browser until it is saved as
// review.json. Text is only ever set as text; nothing is fetched.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const words = data.words;
  const items = new Map(data.items.map((one) => [one.id, one]));
  const $ = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
  const make = (tag, css, text) => {
    const made = document.createElement(tag);
    if (css) made.className = css;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  document.documentElement.classList.add("js");
  document.body.classList.add("js");

  // --- evidence: shown on hover and focus, kept on click or Enter, left with Escape
  const panel = $("panel"), lines = $("lines"), hint = lines.firstElementChild;
  let kept = null;
  panel.hidden = false;

  const idOf = (element) => element.getAttribute("href").slice(1);
  const evidenceOf = (element) => {
    if (element.matches("a.id")) return { text: "", numbers: [], evidence: [idOf(element)] };
    return items.get(element.dataset.item);
  };
  function show(element) {
    const about = evidenceOf(element);
    if (!about) return;
    all(".at").forEach((one) => one.classList.remove("at"));
    element.classList.add("at");
    lines.replaceChildren();
    if (about.text) lines.append(make("p", "words", `${about.place}: ${about.text}`));
    for (const id of about.evidence) {
      const note = data.notes.includes(id);
      const line = make("p", note ? "line note" : "line");
      line.append(make("strong", "id", id), ` ${data.lines[id] ?? ""}`);
      if (note) line.append(` (${words.note})`);
      lines.append(line);
    }
    if (!about.evidence.length) lines.append(make("p", "soft", words.no_evidence));
    for (const number of about.numbers) {
      const line = make("p", number.bad ? "line bad" : "line");
      line.append(number.bad ? `${data.warn} ` : "", make("strong", "", number.text), ` ${number.says}`);
      lines.append(line);
    }
    panel.classList.add("showing");
  }
  function leave() {
    all(".at").forEach((one) => one.classList.remove("at"));
    if (kept) return show(kept);
    panel.classList.remove("showing");
    lines.replaceChildren(hint);
  }
  function keep(element) {
    kept = element;
    show(element);
  }
  const targets = ".sentence, a.id";
  const target = (event) => {
    const link = event.target.closest("a.id");
    return link && link.closest("#panel") === null ? link : event.target.closest(".sentence");
  };
  document.addEventListener("mouseover", (event) => { const at = target(event); if (at) show(at); });
  document.addEventListener("mouseout", (event) => {
    const at = target(event);
    if (at && !(event.relatedTarget && at.contains(event.relatedTarget))) leave();
  });
  document.addEventListener("focusin", (event) => { if (event.target.matches(targets)) show(event.target); });
  document.addEventListener("focusout", (event) => { if (event.target.matches(targets)) leave(); });
  document.addEventListener("click", (event) => {
    const at = target(event);
    if (!at) return;
    // a link to the list of evidence still goes there with a modifier or in a new tab
    if (at.matches("a.id") && !event.ctrlKey && !event.metaKey && !event.shiftKey) event.preventDefault();
    keep(at);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { kept = null; leave(); }
    if ((event.key === "Enter" || event.key === " ") && event.target.matches(".sentence")) {
      event.preventDefault();
      keep(event.target);
    }
  });
  $("close").addEventListener("click", () => { kept = null; leave(); });

  if (!data.open) return;

  // --- the review
  const place = `riskscribe-review-${data.report_id}-${data.answer_hash}`;
  const state = { reviewer: "", comment: "", decisions: {} };
  const due = data.items.filter((one) => one.kind !== "addition");
  let keeps = true;
  try {
    const held = JSON.parse(localStorage.getItem(place) ?? "null");
    if (held && typeof held.decisions === "object") {
      state.reviewer = String(held.reviewer ?? "");
      state.comment = String(held.comment ?? "");
      for (const [id, one] of Object.entries(held.decisions)) {
        if (items.has(id) && ["accept", "edit", "reject"].includes(one.decision)) state.decisions[id] = one;
      }
    }
  } catch { keeps = false; }
  function store() {
    try { localStorage.setItem(place, JSON.stringify(state)); } catch { keeps = false; }
    $("kept").textContent = keeps ? words.kept : words.not_kept;
  }

  const groups = new Map(all(".decide").map((one) => [one.dataset.item, one]));
  const sentences = new Map(all(".sentence").map((one) => [one.dataset.item, one]));
  function draw(id) {
    const decided = state.decisions[id], group = groups.get(id), sentence = sentences.get(id);
    for (const button of group.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(decided?.decision === button.dataset.do));
    }
    sentence?.classList.toggle("gone", decided?.decision === "reject");
    sentence?.classList.toggle("changed-text", decided?.decision === "edit");
    let box = group.nextElementSibling?.matches(".edited") ? group.nextElementSibling : null;
    if (decided?.decision !== "edit") return box?.remove();
    if (!box) {
      box = make("label", "edited");
      const text = make("textarea");
      box.append(make("span", "soft", `${items.get(id).place}: ${words.text}`), text);
      text.value = decided.after;
      text.addEventListener("input", () => { state.decisions[id].after = text.value; store(); count(); });
      group.after(box);
    }
  }
  const done = (one) => {
    const decided = state.decisions[one.id];
    return decided && (decided.decision !== "edit" || decided.after.trim());
  };
  function count() {
    const number = due.filter(done).length;
    $("done").textContent = fill(words.progress, { done: number, all: due.length });
    $("meter").max = due.length || 1;
    $("meter").value = due.length ? number : 1;
    $("next").disabled = number === due.length;
    return due.length - number;
  }
  for (const [id, group] of groups) {
    group.hidden = false;
    group.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const wanted = button.dataset.do;
      // pressing what is pressed takes the decision back
      if (state.decisions[id]?.decision === wanted) delete state.decisions[id];
      else state.decisions[id] = wanted === "edit" ? { decision: wanted, after: items.get(id).text } : { decision: wanted };
      draw(id);
      store();
      count();
      if (wanted === "edit" && state.decisions[id]) group.nextElementSibling.querySelector("textarea").focus();
    });
    draw(id);
  }
  $("next").addEventListener("click", () => {
    const open = due.find((one) => !done(one));
    const at = sentences.get(open?.id) ?? groups.get(open?.id)?.querySelector("button");
    at?.scrollIntoView({ block: "center" });
    at?.focus({ preventScroll: true });
  });
  for (const name of ["reviewer", "comment"]) {
    $(name).value = state[name];
    $(name).addEventListener("input", () => { state[name] = $(name).value; store(); });
  }

  function saved(status) {
    const decisions = [], additions = [];
    for (const one of data.items) {
      const decided = state.decisions[one.id];
      if (!decided) continue;
      const after = decided.decision === "edit" ? { after: decided.after.trim() } : {};
      if (one.kind === "addition") additions.push({ path: one.path, official: one.index, text: after.after });
      else decisions.push({ path: one.path, sentence: one.index, decision: decided.decision, before: one.text, ...after });
    }
    return {
      schema_version: "1", report_id: data.report_id, answer_hash: data.answer_hash, reviewer: state.reviewer.trim(),
      status, comment: state.comment.trim(), saved_at: new Date().toISOString(), decisions, additions,
    };
  }
  function problem(status) {
    if (!state.reviewer.trim()) return [words.need_name, "reviewer"];
    if (status === "rejected" && !state.comment.trim()) return [words.need_comment, "comment"];
    for (const one of data.items) {
      const decided = state.decisions[one.id];
      if (decided?.decision === "edit" && !decided.after.trim()) return [fill(words.need_text, { place: one.place }), null];
    }
    const left = count();
    return status === "approved" && left ? [fill(words.need_all, { left }), "next"] : null;
  }
  for (const button of all("[data-save]")) {
    button.addEventListener("click", () => {
      const status = button.dataset.save, wrong = problem(status);
      $("told").textContent = "";
      if (wrong) {
        $("told").textContent = `${data.warn} ${wrong[0]}`;
        if (wrong[1]) $(wrong[1]).focus();
        return;
      }
      const link = make("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(saved(status), null, 2) + "\n"], { type: "application/json" }));
      link.download = "review.json";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      $("told").textContent = fill(words.saved, { status: button.textContent.trim() });
    });
  }
  $("review").hidden = false;
  store();
  count();
})();
