/**
 * What a cluster has of one cache, in memory: takes the steps of plans. For pure tests of plan() and status(); that the
 * steps work is shown against a real API server.
 */
import type { Outcome } from '../../operator/cache/act.ts';
import { configHash } from '../../operator/cache/desired/config.ts';
import { desired } from '../../operator/cache/desired/desired.ts';
import type { Inputs } from '../../operator/cache/desired/inputs.ts';
import { secretNeeds } from '../../operator/cache/desired/secret-needs.ts';
import { leaving, leftoverOf } from '../../operator/cache/desired/token-secrets.ts';
import { namesOf, tokenSecretName } from '../../operator/cache/names.ts';
import { childKey, type Observed } from '../../operator/cache/observe/observed.ts';
import { plan, type Step } from '../../operator/cache/plan/plan.ts';
import { generateSecret, ownership } from '../../operator/cache/secrets/generate.ts';
import type { Cache } from '../../operator/cache/types.ts';
import type { AnyObj, Desired, Secret } from '../../operator/runtime/index.ts';
import { liveOf } from './live-object.ts';
import { inputsOf, observedOf, podOf, reportOf, secretsOf, secretsView, stored } from './operator-fixtures.ts';

/** More looks than any cache needs until nothing is left to do. */
const MOST_LOOKS = 5;

export class World {
  readonly children = new Map<string, AnyObj>();
  readonly secrets = new Map<string, Secret>();
  #changes = 1;

  /** With Secrets that were made by hand. */
  constructor(secrets: readonly Secret[] = []) {
    for (const secret of secrets) this.secrets.set(secret.metadata.name, secret);
  }

  /** Whatever the plans say is done, until they say nothing more. What was done, in order. */
  settle(cache: Cache, more: Partial<Inputs> = {}): Step[] {
    const done: Step[] = [];
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const steps = this.plan(cache, more);
      if (steps.length === 0) return done;
      // As of the look that the plan follows from: what a step makes is known to the next look only.
      const { publicKeys } = this.observe(cache).secrets;
      for (const step of steps) this.#take(step, cache, inputsOf(more), publicKeys);
      done.push(...steps);
    }
    throw new Error(`there is no end to it: ${done.map(({ because }) => because).join('; ')}`);
  }

  plan(cache: Cache, more: Partial<Inputs> = {}, seen: Partial<Observed> = {}): Step[] {
    const observed = this.observe(cache, seen);
    const { tokenHashes, leftovers } = observed.secrets;
    const inputs = inputsOf({ ...more, tokenHashes, leftovers });
    return plan(cache, desired(cache, inputs), observed);
  }

  observe(cache: Cache, more: Partial<Observed> = {}): Observed {
    const config = this.children.get(`ConfigMap/${namesOf(cache).config}`);
    const leftovers = [...leaving(cache, config)].flatMap(([token, uid]) =>
      leftoverOf(cache, token, uid, this.secrets.get(tokenSecretName(cache, token))),
    );
    const secrets = secretsView(cache, [...this.secrets.values()], leftovers);
    return observedOf(cache, { children: new Map(this.children), secrets, ...more });
  }

  get(key: string): AnyObj {
    const found = this.children.get(key);
    if (!found) throw new Error(`there is no ${key}; there are ${[...this.children.keys()].join(', ')}`);
    return found;
  }

  /** Somebody changes an object. */
  edit(key: string, change: (object: AnyObj) => AnyObj): void {
    this.children.set(key, change(this.get(key)));
  }

  #take(step: Step, cache: Cache, inputs: Inputs, publicKeys: readonly string[]): void {
    if (step.do === 'generate' && !this.secrets.has(step.need.name))
      this.#make(stored(generateSecret(step.need, cache, inputs, publicKeys)));
    if (step.do === 'own') this.#own(step.need.name, ownership(step.need, cache));
    if (step.do === 'apply') {
      const key = childKey(step.object);
      this.children.set(key, liveOf(step.object, this.children.get(key), this.#changes++));
    }
    if (step.do === 'delete') this.children.delete(childKey(step.object));
    if (step.do === 'delete' && step.object.kind === 'Secret') this.secrets.delete(step.object.metadata.name);
  }

  /** Each one that is made is another object. */
  #make({ metadata, ...secret }: Secret): void {
    const uid = `${metadata.uid}-${this.#changes++}`;
    this.secrets.set(metadata.name, { ...secret, metadata: { ...metadata, uid } });
  }

  #own(name: string, { metadata: { ownerReferences = [] } }: Desired): void {
    const secret = this.secrets.get(name);
    if (secret) this.secrets.set(name, { ...secret, metadata: { ...secret.metadata, ownerReferences } });
  }
}

/** A world with the Secrets that a cache was given, and nothing of what the operator makes. */
export function worldFor(cache: Cache): World {
  const given = new Set(secretNeeds(cache).flatMap(({ name, isGenerated }) => (isGenerated ? [] : [name])));
  return new World(secretsOf(cache).filter(({ metadata }) => given.has(metadata.name)));
}

/** A world in which nothing is left to do for a cache. */
export function settledFor(cache: Cache, more: Partial<Inputs> = {}): World {
  const world = worldFor(cache);
  world.settle(cache, more);
  return world;
}

/** What status() is told. */
export interface Scene {
  readonly cache: Cache;
  readonly inputs: Inputs;
  readonly observed: Observed;
  readonly outcome: Outcome;
  /** Places of the status that the installed CRD does not know. */
  readonly lacking?: readonly string[];
}

/** A cache that runs, with nothing wrong. */
export function wellOf(cache: Cache, more: Partial<Inputs> = {}): Scene {
  const world = settledFor(cache, more);
  const { replicas } = cache.spec;
  const status = { observedGeneration: 1, replicas, readyReplicas: replicas, updatedReplicas: replicas };
  world.edit(`StatefulSet/${cache.metadata.name}`, (it) => ({ ...it, status }));
  const pods = Array.from({ length: replicas }, (_, index) => podOf(cache, index));
  const { tokenHashes } = world.observe(cache).secrets;
  const inputs = inputsOf({ ...more, tokenHashes });
  const report = reportOf(cache, configHash(cache, inputs));
  const reports = new Map(pods.map(({ metadata }) => [metadata.name, report]));
  return { cache, inputs, observed: world.observe(cache, { pods, reports }), outcome: DONE };
}

/** Of a plan that had nothing to do. */
export const DONE: Outcome = {
  steps: [],
  applied: new Map(),
  notGrown: new Map(),
  contested: [],
  heldMs: undefined,
};

/** Steps in short: what is done to what. */
export function inShort(steps: readonly Step[]): string[] {
  return steps.map((step) => {
    if (step.do === 'wait') return 'wait';
    if (step.do === 'generate' || step.do === 'own') return `${step.do} Secret/${step.need.name}`;
    return `${step.do} ${step.object.kind}/${step.object.metadata.name}`;
  });
}
