/** Does the steps of a plan, one after the other. What fails stops it: the next look starts from what is there then. */
import { type AnyObj, type Api, ApiError, type Desired, type Kind, kinds, type Obj } from '../runtime/index.ts';
import type { Inputs } from './desired/index.ts';
import { isOurs, STORAGE_LABEL } from './names.ts';
import { childKey, type Observed } from './observe/index.ts';
import type { Step } from './plan/index.ts';
import * as reasons from './reasons.ts';
import type { Secrets } from './secrets/index.ts';
import { generateSecret, ownership } from './secrets/index.ts';
import type { Cache } from './types.ts';

/** A step that was not possible, in words for the condition. */
export class StepError extends Error {
  override readonly name = 'StepError';
  readonly reason: string;

  constructor(reason: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}

/** What came of a plan. */
export interface Acted {
  readonly steps: readonly Step[];
  /** What was applied, as the API server has it since then, by `Kind/name`: what was observed before is out of date. */
  readonly applied: ReadonlyMap<string, AnyObj>;
  /** Storages whose volume may not grow, with the API server's words. All else goes on. */
  readonly notGrown: ReadonlyMap<string, string>;
  readonly error?: unknown;
}

/** What came of looking at a cache: of the plan, and of what was put off because others undo it each time. */
export interface Outcome extends Acted {
  /** What had to be done again and again, a sentence each. */
  readonly contested: readonly string[];
  /** When the first of what was put off is due; undefined: nothing was. */
  readonly heldMs: number | undefined;
}

export interface ActInit {
  readonly api: Api;
  readonly secrets: Secrets;
  /** Whether the cache is there still: what is made for one that is gone would stay. */
  readonly isThere: (cache: Cache) => boolean;
  /** Tests end the process here, after each step. */
  readonly afterStep?: () => void;
  /** `version` of what came of it: it changes only if something has. */
  readonly onStep: (cache: Cache, step: Step, version: string) => void;
}

export async function act(
  init: ActInit,
  cache: Cache,
  inputs: Inputs,
  observed: Observed,
  steps: readonly Step[],
  signal: AbortSignal,
): Promise<Acted> {
  const notGrown = new Map<string, string>();
  const applied = new Map<string, AnyObj>();
  for (const step of steps) {
    if (!init.isThere(cache)) break;
    try {
      const { version, object } = await run(init, cache, inputs, observed, step, signal);
      if (object) applied.set(childKey(object), object);
      init.onStep(cache, step, version);
    } catch (error) {
      const storage = step.do === 'apply' && !step.isNew ? step.object.metadata.labels?.[STORAGE_LABEL] : undefined;
      // The class of the volume decides, and the pods do not need the room to run.
      if (storage !== undefined && error instanceof ApiError && error.code === 403)
        notGrown.set(storage, error.message);
      else return { steps, applied, notGrown, error };
    }
    init.afterStep?.();
  }
  return { steps, applied, notGrown };
}

/** What came of a step. `version` changes only if something has. */
interface Done {
  readonly version: string;
  readonly object?: AnyObj;
}

async function run(
  { api, secrets }: ActInit,
  cache: Cache,
  inputs: Inputs,
  observed: Observed,
  step: Step,
  signal: AbortSignal,
): Promise<Done> {
  const { namespace = '' } = cache.metadata;
  switch (step.do) {
    case 'generate': {
      const secret = generateSecret(step.need, cache, inputs, observed.secrets.publicKeys);
      // Whoever was first has made it: the next look takes that one.
      const made = await api.create(kinds.Secret, secret, { signal });
      secrets.forget(namespace, step.need.name);
      return { version: made === 'exists' ? made : made.metadata.uid };
    }
    case 'own': {
      const { metadata } = await api.apply(kinds.Secret, ownership(step.need, cache), { signal });
      secrets.forget(namespace, step.need.name);
      return { version: metadata.resourceVersion };
    }
    case 'apply': {
      const kind = kindOf(step.object);
      if (step.isNew) refuseForeign(cache, await api.get(kind, step.object.metadata, { signal }));
      const object = await api.apply(kind, step.object, { signal });
      return { version: object.metadata.resourceVersion, object };
    }
    case 'delete':
      await api.delete(kindOf(step.object), step.object.metadata, { signal });
      if (step.object.kind === kinds.Secret.kind) secrets.forget(namespace, step.object.metadata.name);
      return { version: step.object.metadata.uid };
    case 'wait':
      return { version: '' };
  }
}

const kindOf = ({ kind }: Obj | Desired): Kind<AnyObj> => {
  const found = Object.values(kinds).find((it) => it.kind === kind);
  if (!found) throw new TypeError(`no kind ${kind}`);
  return found as Kind<AnyObj>;
};

/** Server-side apply would take over whatever has the name: the Service of another program, say. */
function refuseForeign(cache: Cache, found: Obj | undefined): void {
  if (!found || isOurs(cache, found)) return;
  const { kind, metadata } = found;
  throw new StepError(
    reasons.NAME_CONFLICT,
    `${kind} ${metadata.name} exists and does not belong to this cache; rename it or the cache`,
  );
}
