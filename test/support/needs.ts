/** Tests that need components which a person may leave out. */
import { isSkipped } from '../../hack/lib/skip.mjs';

/** Declares tests by `describe`. Where NARWHAL_SKIP names a component of theirs, one pending test stands for them. */
export function describeWith(
  components: string | readonly string[],
  title: string,
  tests: (this: Mocha.Suite) => void,
): void {
  const skipped = [components].flat().find((component) => isSkipped(component));
  if (skipped === undefined) describe(title, tests);
  else describe(title, () => it.skip(`with ${skipped} (NARWHAL_SKIP=${skipped})`));
}
