/** Where a value stands in a manifest: field names and list positions from the root. */
export type Path = readonly (string | number)[];

/** Writes a path as people write it: `spec.storages[1].weight`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (!/^[A-Za-z_][\w-]*$/.test(step)) text += `[${JSON.stringify(step)}]`;
    else text += text === '' ? step : `.${step}`;
  }
  return text;
}

/** Whether a path leads to something at or below another. */
export function isWithin(path: Path, outer: Path): boolean {
  return outer.every((step, index) => path[index] === step);
}

/** What stood at a path of an object in an older one of it: entries of lists are found again by their names. */
export function earlierValue(old: unknown, object: unknown, path: Path): unknown {
  let [now, then] = [object, old];
  for (const step of path) {
    now = inside(now, step);
    then =
      typeof step === 'number' && Array.isArray(then)
        ? then.find((item) => nameOf(item) === nameOf(now))
        : inside(then, step);
  }
  return then;
}

function inside(value: unknown, step: string | number): unknown {
  if (typeof step === 'number') return Array.isArray(value) ? value[step] : undefined;
  return isMapping(value) && Object.hasOwn(value, step) ? value[step] : undefined;
}

function nameOf(value: unknown): unknown {
  return inside(value, 'name');
}

/** Everything in an object at a place such as `spec.storages[].local`. */
export function select(object: unknown, at: string): { path: Path; value: unknown }[] {
  let found: { path: Path; value: unknown }[] = [{ path: [], value: object }];
  for (const step of at === '' ? [] : at.split('.')) {
    const name = step.replace('[]', '');
    found = found.flatMap(({ path, value }) => {
      if (!isMapping(value) || !Object.hasOwn(value, name)) return [];
      const inner = value[name];
      if (!step.endsWith('[]')) return [{ path: [...path, name], value: inner }];
      return Array.isArray(inner) ? inner.map((item, index) => ({ path: [...path, name, index], value: item })) : [];
    });
  }
  return found.filter(({ value }) => value !== undefined && value !== null);
}

/** A copy of an object without what stands at the places, such as `spec.storages[].local.size`. */
export function without<T>(object: T, places: readonly string[]): T {
  const copy = structuredClone(object);
  for (const place of places) {
    const end = place.lastIndexOf('.');
    for (const { value } of select(copy, place.slice(0, Math.max(end, 0)))) {
      if (isMapping(value)) delete value[place.slice(end + 1)];
    }
  }
  return copy;
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
