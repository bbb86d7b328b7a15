/** The gateway's routing table, which the operator writes. */
export interface RoutingTable {
  readonly apiUrl: string;
  readonly caches: { readonly [name: string]: { readonly url: string; readonly tokens: readonly string[] } };
}
