/** Work on many things, a few at a time. */

/** Runs `work` on each item, `atOnce` of them at one time, in their order. Where one fails no more begin. */
export async function inParallel<T>(
  atOnce: number,
  items: Iterable<T> | AsyncIterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let isOver = false;
  const worker = async () => {
    while (!isOver) {
      const next = await source.next();
      if (isOver || next.done === true) break;
      await work(next.value);
    }
    isOver = true;
  };
  const workers = Array.from({ length: atOnce }, () =>
    worker().catch((error: unknown) => {
      isOver = true;
      throw error;
    }),
  );
  const outcomes = await Promise.allSettled(workers);
  const failed = outcomes.find((it) => it.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
