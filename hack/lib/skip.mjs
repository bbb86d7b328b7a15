// NARWHAL_SKIP: stages and components that a person leaves out on a machine that cannot run them. Never in CI.

/** The names in NARWHAL_SKIP. */
export function skippedNames() {
  return (process.env.NARWHAL_SKIP ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
}

/** Whether NARWHAL_SKIP names this stage or component. */
export function isSkipped(name) {
  return skippedNames().includes(name);
}

/** Why NARWHAL_SKIP cannot be followed, or nothing. */
export function skipProblem(known) {
  const names = skippedNames();
  if (names.length === 0) return undefined;
  if (process.env.CI === 'true') return 'NARWHAL_SKIP is refused when CI=true: everything runs there.';
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length === 0) return undefined;
  return `NARWHAL_SKIP names ${unknown.join(', ')}; there is: ${known.join(', ')}.`;
}
