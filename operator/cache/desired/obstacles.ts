/** What keeps the operator from doing all that a manifest says. */

/** Why the operator does not do what the manifest says, though it could. */
export interface Obstacle {
  readonly reason: 'Unsupported' | 'ServiceAccountNotAllowed' | RouteReason;
  readonly message: string;
}

/** Why there is no Ingress or HTTPRoute, or not for all hosts: the rest of the cache goes on. */
type RouteReason = 'NotServed' | 'HostNotAllowed' | 'AnnotationNotAllowed';

const OF_ROUTES: ReadonlySet<string> = new Set<RouteReason>(['NotServed', 'HostNotAllowed', 'AnnotationNotAllowed']);

/** Whether it concerns no more than the hosts of Ingress and HTTPRoute. */
export const isOfRoutes = ({ reason }: Obstacle): boolean => OF_ROUTES.has(reason);
