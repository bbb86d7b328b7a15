/**
 * Which hosts a cache may take, and what its Ingress may say to a controller. Whoever may write a BinaryCache need not be
 * allowed to have any Ingress, and we could make any: so the administrator's lists decide. Pure.
 */
import type { BinaryCacheSpec } from '../../../crds/index.ts';
import type { Cache } from '../types.ts';
import type { Obstacle } from './obstacles.ts';

/** Stands for every namespace. */
export const EVERY_NAMESPACE = '*';

export interface HostRule {
  /** Whose caches may take the host; `*`: those of every namespace. */
  readonly namespace: string;
  /** `nix.example.org`, `*.example.org` for what is below it, `*` for any; with `{namespace}` for the name of that. */
  readonly host: string;
}

export interface RouteRules {
  readonly hosts: readonly HostRule[];
  /** `name` or `prefix*`, whose value may be one plain word; with `=*` behind it any text. */
  readonly annotations: readonly string[];
  /** Host of the gateway, to which all below it belongs too; undefined: there is none. */
  readonly gatewayHost: string | undefined;
}

export interface Admitted {
  /** The cache as if it had not asked for what is refused. */
  readonly cache: Cache;
  readonly refused: readonly Obstacle[];
}

export function admitRoutes(cache: Cache, rules: RouteRules): Admitted {
  const { ingress, httpRoute, ...spec } = cache.spec;
  const { namespace = '' } = cache.metadata;
  const hosts = ingress ? [ingress.host] : (httpRoute?.hostnames ?? []);
  const judged = hosts.map((host) => ({ host, refusal: hostRefusal(host, namespace, rules) }));
  const refused = [...judged.flatMap(({ refusal }) => refusal ?? []), ...annotationRefusals(ingress, rules)];
  if (refused.length === 0) return { cache, refused };
  const hostnames = judged.flatMap(({ host, refusal }) => (refusal ? [] : [host]));
  // An Ingress without one of its annotations might let everyone in. Of a route without hosts, all would be its hosts.
  const rest = httpRoute && hostnames.length > 0 ? { httpRoute: { ...httpRoute, hostnames } } : {};
  return { cache: { ...cache, spec: { ...spec, ...rest } }, refused };
}

function hostRefusal(host: string, namespace: string, { hosts, gatewayHost }: RouteRules): Obstacle | undefined {
  const refusal = (message: string): Obstacle => ({ reason: 'HostNotAllowed', message });
  if (gatewayHost !== undefined && isAtOrBelow(host, gatewayHost))
    return refusal(`host ${host} belongs to the gateway, by which caches have their public names: name another`);
  const isAllowed = hosts.some(
    (rule) =>
      [EVERY_NAMESPACE, namespace].includes(rule.namespace) &&
      covers(rule.host.replaceAll('{namespace}', namespace), host),
  );
  if (isAllowed) return undefined;
  return refusal(
    `host ${host} is not allowed to caches of the namespace ${namespace}: name another, or have an administrator list it in caches.hosts of the chart`,
  );
}

const isAtOrBelow = (host: string, domain: string): boolean => host === domain || host.endsWith(`.${domain}`);

/** @param host may be a wildcard itself, which only a wider one covers */
function covers(pattern: string, host: string): boolean {
  if (pattern === '*' || pattern === host) return true;
  return pattern.startsWith('*.') && host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

function annotationRefusals(ingress: BinaryCacheSpec['ingress'], { annotations }: RouteRules): Obstacle[] {
  return Object.entries(ingress?.annotations ?? {}).flatMap(([name, value]): Obstacle[] => {
    const rules = annotations.map(annotationRule).filter(({ isOf }) => isOf(name));
    if (rules.some(({ takesAny }) => takesAny || PLAIN.test(value))) return [];
    const what =
      rules.length > 0
        ? `the value of the annotation ${name} may be one plain word only`
        : `the annotation ${name} is not allowed to Ingresses of caches`;
    const message = `${what}, so that there is no Ingress: remove it, or have an administrator list it in caches.ingressAnnotations of the chart`;
    return [{ reason: 'AnnotationNotAllowed', message }];
  });
}

/** Some controllers copy values into their own configuration: nothing that could end a value there. */
const PLAIN = /^[\w.:/@+-]*$/;
const ANY_VALUE = '=*';

function annotationRule(rule: string): { isOf(name: string): boolean; readonly takesAny: boolean } {
  const takesAny = rule.endsWith(ANY_VALUE);
  const name = takesAny ? rule.slice(0, -ANY_VALUE.length) : rule;
  const isOf = (it: string) => (name.endsWith('*') ? it.startsWith(name.slice(0, -1)) : it === name);
  return { isOf, takesAny };
}
