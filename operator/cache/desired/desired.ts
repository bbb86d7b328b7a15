/** Everything that a cache consists of, in the order in which it is made. Pure: same input, same bytes. */
import type { Desired } from '../../runtime/index.ts';
import type { Cache } from '../types.ts';
import { account } from './account.ts';
import { config } from './config.ts';
import { exposure } from './exposure.ts';
import type { Inputs } from './inputs.ts';
import { monitoring } from './monitoring.ts';
import { network } from './network.ts';
import { autoscaler, disruption } from './scaling.ts';
import { services } from './services.ts';
import { volumes } from './volumes.ts';
import { workload } from './workload.ts';

type Builder = (cache: Cache, inputs: Inputs) => Desired[];

/** What a pod needs comes before the pods, and so does the policy that protects them. Secrets come before all. */
const BUILDERS: readonly Builder[] = [
  account,
  config,
  volumes,
  services,
  network,
  workload,
  disruption,
  autoscaler,
  exposure,
  monitoring,
];

export function desired(cache: Cache, inputs: Inputs): Desired[] {
  return BUILDERS.flatMap((build) => build(cache, inputs));
}
