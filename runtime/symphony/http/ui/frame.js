// What views share: showing one of them, and telling what went wrong. Views are registered, so it imports none.

const $ = (id) => document.getElementById(id);
let views = {};

export function register(all) {
  views = all;
}

/** Show a view; `what` is for the view (`#timeline/7` gives it "7"). The address keeps both. */
export function show(name, what = "") {
  for (const other of Object.keys(views)) {
    $(other).hidden = other !== name;
    $(`tab-${other}`).setAttribute("aria-selected", String(other === name));
    if (other !== name) views[other].hidden?.();
  }
  location.hash = what === "" ? name : `${name}/${what}`;
  views[name].shown?.(what);
}

export function problem(error) {
  const box = $("problem");
  if (error?.name === "AbortError") return;
  box.hidden = !error;
  box.textContent = error ? [error.message, error.hint].filter(Boolean).join("\n") : "";
  if (error?.status === 401) {
    $("key-form").hidden = false;
    $("key").focus();
  }
}

/** Runs what a click asked for; what fails is shown. */
export const tried = (work) => async (...given) => {
  try {
    problem(null);
    return await work(...given);
  } catch (error) {
    problem(error);
  }
};
