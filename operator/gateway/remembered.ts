/** What follows from an object alone is worked out once, and forgotten with it. Pure functions of objects that never change. */
export function remembered<K extends object, V>(work: (object: K) => V): (object: K) => V {
  const known = new WeakMap<K, { readonly value: V }>();
  return (object) => {
    const found = known.get(object) ?? { value: work(object) };
    known.set(object, found);
    return found.value;
  };
}
