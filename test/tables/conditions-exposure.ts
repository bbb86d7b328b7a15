/** What the conditions say of the addresses of a cache. */

import type { Obstacle } from '../../operator/cache/desired/obstacles.ts';
import type { TokenRefusal } from '../../operator/cache/observe/observed.ts';
import type { Value } from '../support/manifests.ts';
import { cacheOf } from '../support/operator-fixtures.ts';
import { but, named, unnamed } from '../support/operator-scenes.ts';
import { type Scene, wellOf } from '../support/operator-world.ts';
import { fine, type Row } from './conditions-row.ts';

const NO_ROUTES: Obstacle = { reason: 'NotServed', message: 'this cluster knows no HTTPRoute' };
const route: Value = {
  httpRoute: { hostnames: ['nix.example.org', '*.nix.example.org'], parentRefs: [{ name: 'gw' }] },
};
const NONE: ReadonlyMap<string, TokenRefusal> = new Map();

/** A cache with the tokens a, b and c, of which the gateway does not lead by some. */
function refusing(refusals: Readonly<Record<string, TokenRefusal>>): () => Scene {
  const tokens = ['a', 'b', 'c'].map((name) => ({ name, permissions: ['Read'], sha256: name.repeat(64) }));
  const refused = new Map(Object.entries(refusals).map(([name, refusal]) => [name.repeat(16), refusal]));
  return () => {
    const well = wellOf(cacheOf({ tokens }));
    return { ...well, observed: { ...well.observed, publicName: { holder: 'this cache', isServed: true, refused } } };
  };
}

export const EXPOSURE: readonly Row[] = [
  {
    title: 'the public name is not decided',
    scene: named({ holder: undefined, isServed: false, refused: NONE }),
    expected: { Exposed: ['False', 'GatewayPending', /not decided/] },
  },
  {
    title: 'the namespace may have no public names',
    scene: named({ holder: 'nobody', isServed: false, refused: NONE }),
    expected: { Ready: fine, Exposed: ['False', 'NamespaceNotAllowed', /this namespace/] },
  },
  {
    title: 'another namespace has the public name',
    scene: named({ holder: { namespace: 'other' }, isServed: false, refused: NONE }),
    expected: { Ready: fine, Exposed: ['False', 'NameTaken', /main belongs to the namespace other; rename/] },
  },
  {
    title: 'the gateway does not serve it yet',
    scene: named({ holder: 'this cache', isServed: false, refused: NONE }),
    expected: { Exposed: ['False', 'GatewayPending', /taken over the route/] },
  },
  {
    title: 'an HTTPRoute is asked for beside the gateway, in a cluster that knows none',
    scene: but(() => ({ obstacles: [NO_ROUTES] }), route),
    expected: { Ready: fine, Exposed: ['False', 'NotServed', /no HTTPRoute/] },
  },
  {
    title: 'an HTTPRoute is asked for without a gateway, in a cluster that knows none',
    scene: unnamed(route, { obstacles: [NO_ROUTES] }),
    expected: { Ready: fine, Exposed: ['False', 'NotServed', /no HTTPRoute/] },
  },
  {
    title: 'a host is refused, and the gateway leads to the cache all the same',
    scene: but(() => ({ obstacles: [{ reason: 'HostNotAllowed', message: 'host bank.example.org is not allowed' }] })),
    expected: { Ready: fine, Exposed: ['False', 'HostNotAllowed', /^host bank\.example\.org is not allowed$/] },
  },
  {
    title: 'an annotation is refused',
    scene: unnamed(
      {},
      { obstacles: [{ reason: 'AnnotationNotAllowed', message: 'the annotation a/b is not allowed' }] },
    ),
    expected: { Ready: fine, Exposed: ['False', 'AnnotationNotAllowed', /^the annotation a\/b/] },
  },
  { title: 'nothing exposes it', scene: unnamed({}), expected: { Ready: fine, Exposed: undefined } },
  {
    title: 'an Ingress exposes it',
    scene: unnamed({ ingress: { host: 'nix.example.org', tlsSecretName: 'tls' } }),
    expected: { Exposed: ['True', 'Ready', /^pulls at https:\/\/nix\.example\.org$/] },
  },
  {
    title: 'an HTTPRoute exposes it',
    scene: unnamed(route),
    expected: { Exposed: ['True', 'Ready', /^pulls at https:\/\/nix\.example\.org$/] },
  },
  {
    title: 'the namespace has as many public names as it may',
    scene: named({ holder: 'full', isServed: false, refused: NONE }),
    expected: {
      Ready: fine,
      Exposed: ['False', 'TooManyNames', /^the namespace team has as many public names as it may;/],
    },
  },
  {
    title: 'another namespace had two of its tokens first, and it takes them at its own hosts',
    scene: refusing({ a: 'taken', b: 'taken' }),
    expected: {
      Ready: fine,
      Exposed: fine,
      TokensRouted: ['False', 'TokenTaken', /by the tokens a, b, since .* had a token first/],
    },
  },
  {
    title: 'another namespace asks for one of its tokens at the same moment',
    scene: refusing({ b: 'doubtful' }),
    expected: { Ready: fine, TokensRouted: ['False', 'TokenTaken', /by the token b, since .* at the same moment/] },
  },
  {
    title: 'its namespace has as many tokens as it may',
    scene: refusing({ c: 'full' }),
    expected: { Ready: fine, TokensRouted: ['False', 'TooManyTokens', /by the token c, since .* as many tokens/] },
  },
  {
    title: 'digits are refused that are none of its tokens',
    scene: refusing({ d: 'taken' }),
    expected: { Ready: fine, TokensRouted: undefined },
  },
];
