/** Tests that need a component which a person may leave out. */
import { isSkipped } from '../../hack/lib/skip.mjs';

/** Declares tests by `describe`. Where NARWHAL_SKIP names the component, one pending test stands for them. */
export function describeWith(component: string, title: string, tests: () => void): void {
  if (isSkipped(component)) describe(title, () => it.skip(`with ${component} (NARWHAL_SKIP=${component})`));
  else describe(title, tests);
}
