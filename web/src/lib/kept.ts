// What the browser keeps for a person. Where it keeps nothing, things last as long as the page.

export function kept(name: string): string {
  try {
    return localStorage.getItem(`khook ${name}`) ?? "";
  } catch {
    return "";
  }
}

export function keep(name: string, value: string) {
  try {
    if (value) localStorage.setItem(`khook ${name}`, value);
    else localStorage.removeItem(`khook ${name}`);
  } catch {
    // It is as if it had been forgotten.
  }
}

export type Look = "" | "light" | "dark";

/** The theme that was chosen; "" for that of the system. */
export function look(): Look {
  const is = kept("theme");
  return is === "light" || is === "dark" ? is : "";
}

export function dress(theme: Look) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
