/**
 * The lines of a stream of UTF-8, without their ends. A last line that has no end is torn and is dropped.
 *
 * `node:readline` does not do: over a body that is aborted it emits an `error` that nobody can catch.
 */
export async function* lines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  // Joined once the line is whole: an object of a megabyte comes in many chunks.
  let parts: string[] = [];
  for await (const chunk of chunks) {
    const [first = '', ...more] = decoder.decode(chunk, { stream: true }).split('\n');
    parts.push(first);
    for (const next of more) {
      yield parts.join('');
      parts = [next];
    }
  }
}
