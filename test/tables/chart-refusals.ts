/** Values that cannot work, and what helm has to say of them. */
import type { Values } from '../support/chart.ts';

const apiUrl = 'https://cache.example.org';
const on = (more: Values) => ({ gateway: { enabled: true, apiUrl, ...more } });
const withUrl = (url: string): readonly [Values, RegExp] => [
  on({ apiUrl: url }),
  /gateway\.apiUrl is .*: give http:\/\/ or https:\/\/ and a host name in lower case/,
];

export const chartRefusals: Readonly<Record<string, readonly [Values, RegExp]>> = {
  'a mistyped value': [{ operator: { replicsa: 3 } }, /at '\/operator': additional properties 'replicsa' not allowed/s],
  'a mistyped group': [{ gatewy: {} }, /additional properties 'gatewy' not allowed/],
  'a number where a text belongs': [{ image: { tag: 1.2 } }, /at '\/image\/tag': got number, want string/],
  'an unknown log level': [{ logLevel: 'loud' }, /at '\/logLevel': value must be one of 'fatal', 'error'/],
  'a namespace that cannot be': [{ watchNamespaces: ['Team_A'] }, /watchNamespaces.*does not match pattern/s],
  'a network that is none': [{ caches: { trustedProxies: ['gateway'] } }, /trustedProxies.*does not match pattern/s],
  'a host with a scheme': [
    { caches: { hosts: { team: ['https://nix.example.org'] } } },
    /caches\/hosts\/team.*does not match pattern/s,
  ],
  'a host for a namespace that cannot be': [{ caches: { hosts: { Team_A: ['*'] } } }, /invalid propertyName 'Team_A'/],
  'two annotations in one': [
    { caches: { ingressAnnotations: ['a/b,c/d'] } },
    /caches\/ingressAnnotations.*does not match pattern/s,
  ],
  'a grace in which nothing could end': [on({ terminationGracePeriodSeconds: 5 }), /minimum: got 5, want 30/],
  'a gateway without a URL': [
    { gateway: { enabled: true } },
    /gateway\.enabled needs gateway\.apiUrl: set it to the URL/,
  ],
  'a URL without a gateway': [
    { gateway: { apiUrl } },
    /gateway\.apiUrl is set, but there is no gateway: set gateway\.enabled/,
  ],
  'a URL with a path': withUrl(`${apiUrl}/nix`),
  'a URL with a slash at the end': withUrl(`${apiUrl}/`),
  'a URL without a scheme': withUrl('cache.example.org'),
  'a URL with a user': withUrl('https://me@cache.example.org'),
  'a URL with an address, which has no names below it': withUrl('https://192.0.2.1'),
  'a URL in capitals': withUrl('https://Cache.example.org'),
  'an Ingress and an HTTPRoute': [
    on({ ingress: { enabled: true }, httpRoute: { enabled: true, parentRefs: [{ name: 'public' }] } }),
    /gateway\.ingress and gateway\.httpRoute are both enabled: choose one of them/,
  ],
  'an HTTPRoute that hangs nowhere': [
    on({ httpRoute: { enabled: true } }),
    /gateway\.httpRoute\.enabled needs gateway\.httpRoute\.parentRefs: name the Gateway/,
  ],
  'a certificate beside an HTTPRoute': [
    on({ httpRoute: { enabled: true, parentRefs: [{ name: 'public' }] }, tls: { secretName: 'cache-tls' } }),
    /gateway\.tls\.secretName does not go with gateway\.httpRoute: give the certificate to the listener/,
  ],
  'a certificate for a URL of plain HTTP': [
    on({ apiUrl: 'http://cache.example.org', tls: { secretName: 'cache-tls' } }),
    /gateway\.tls\.secretName is set, but gateway\.apiUrl is http:.*: write https:/,
  ],
  'a dashboard for no Grafana': [
    { grafanaDashboard: { enabled: true, mode: 'GrafanaOperator' } },
    /grafanaDashboard\.mode GrafanaOperator needs grafanaDashboard\.instanceLabels/,
  ],
};
