/** What may be wrong with the pins of a manifest, and what its conditions say then. */
import type { Value } from '../support/manifests.ts';
import { podOf, reportOf } from '../support/operator-fixtures.ts';
import { but, told } from '../support/operator-scenes.ts';
import { fine, type Row } from './conditions-row.ts';

const pathOf = (digit: number): string => `/nix/store/${String(digit).repeat(32)}-x`;
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
const pinning: Value = { pins: NAMES.map((name, index) => ({ name, storePath: pathOf(index) })) };

/** What a server says of which these are not here. */
const lacking = (...names: string[]) => ({
  names: 20,
  missing: names.length,
  firstMissing: names.slice(0, 5).map((name) => ({ name, storePath: pathOf(NAMES.indexOf(name)) })),
});

export const PIN_ROWS: readonly Row[] = [
  {
    title: 'all pinned paths are here',
    scene: told({ pins: lacking() }, undefined, pinning),
    expected: { Ready: fine, PinsPresent: ['True', 'Ready', /^every pinned path is here$/] },
  },
  {
    title: 'a pinned path is not here',
    scene: told({ pins: lacking('b') }, undefined, pinning),
    expected: {
      Ready: fine,
      PinsPresent: ['False', 'PinMissing', /^1 of 7 pinned paths is not here yet, .*: b \(\/nix\/store\/1{32}-x\)$/],
    },
  },
  {
    title: 'more pinned paths are not here than a person reads',
    scene: told({ pins: lacking(...NAMES) }, undefined, pinning),
    expected: { PinsPresent: ['False', 'PinMissing', /^7 of 7 pinned paths are not here yet, .* e \(\S+\), 2 more$/] },
  },
  {
    title: 'no server runs the manifest with these pins yet',
    scene: told({ pins: lacking() }, 'f'.repeat(64), pinning),
    expected: { PinsPresent: ['Unknown', 'Unknown', /^no server has told/] },
  },
  {
    title: 'a server is older than pins are',
    scene: told({}, undefined, pinning),
    expected: { PinsPresent: ['Unknown', 'Unknown', /^no server has told/] },
  },
  {
    title: 'a server has heard a moment later than another that a pinned path was pushed',
    scene: but(({ cache, observed: { reports } }) => {
      const hash = reports.get('main-0')?.config.files[0]?.sha256 ?? '';
      const said = [lacking(), lacking('c')].map((pins) => reportOf(cache, hash, { pins }));
      return {
        pods: said.map((_, index) => podOf(cache, index)),
        reports: new Map(said.map((report, index) => [`main-${index}`, report])),
      };
    }, pinning),
    expected: { PinsPresent: ['False', 'PinMissing', /: c /] },
  },
  {
    title: 'pins are only those of tokens',
    scene: told({ pins: lacking() }),
    expected: { PinsPresent: undefined },
  },
];
