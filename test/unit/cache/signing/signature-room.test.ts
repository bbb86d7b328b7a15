import assert from 'node:assert/strict';
import fc from 'fast-check';
import { roomForOthers, weighSignatures } from '../../../../server/cache/signing/signature-room.ts';

/** `<name>:<text>`; those whose name begins with `known` are by a key of that name. */
const knownKeyOf = (signature: string) => {
  const name = signature.slice(0, signature.indexOf(':'));
  return name.startsWith('known') ? name : undefined;
};
const weigh = (stored: readonly string[], offered: readonly string[], lines: number) =>
  weighSignatures(stored, offered, { knownKeyOf, otherBytes: lines * ('other1:x'.length + 6) });

describe('the signatures of a path', () => {
  it('are all kept while there is room, each once, in their order', () => {
    const { kept, leftOut } = weigh(['other1:x', 'known1:x'], ['other2:x', 'other1:x'], 4);
    assert.deepEqual(kept, ['other1:x', 'known1:x', 'other2:x']);
    assert.deepEqual(leftOut, []);
  });

  it('are kept of known keys first, without taking room from the others', () => {
    const { kept, leftOut } = weigh(['other1:x', 'other2:x'], ['other3:x', 'known1:x', 'known2:x'], 2);
    assert.deepEqual(kept, ['other1:x', 'other2:x', 'known1:x', 'known2:x']);
    assert.deepEqual(leftOut, ['other3:x']);
  });

  it('of which there are several by one known key count as others from the second on', () => {
    assert.deepEqual(weigh(['known1:x'], ['known1:y', 'known1:z'], 1).leftOut, ['known1:z']);
  });

  it('never lose their place to new ones, and never outgrow their room', () => {
    const signature = fc.tuple(fc.constantFrom('known1', 'known2', 'other1', 'other2', 'other3'), fc.nat(20));
    const list = fc.uniqueArray(signature.map(([name, text]) => `${name}:${text}`));
    fc.assert(
      fc.property(fc.array(list, { maxLength: 8 }), fc.integer({ min: 0, max: 12 }), (pushes, lines) => {
        let stored: readonly string[] = [];
        for (const offered of pushes) {
          const { kept, leftOut } = weigh(stored, offered, lines);
          for (const old of stored) assert.ok(kept.includes(old), old);
          for (const one of offered) assert.notEqual(kept.includes(one), leftOut.includes(one));
          for (const key of ['known1', 'known2'])
            if (offered.some((one) => one.startsWith(key))) assert.ok(kept.some((one) => one.startsWith(key)));
          const size = kept.reduce((sum, one) => sum + one.length + 6, 0);
          assert.ok(size <= lines * 14 + 2 * 15);
          stored = kept;
        }
      }),
    );
  });

  it('leave a quarter of a narinfo to known keys, and the room that its references take', () => {
    assert.equal(roomForOthers(65_536, 0), 48 * 1024 - 1024);
    assert.equal(roomForOthers(65_536, 40 * 1024), 7 * 1024);
    assert.equal(roomForOthers(65_536, 60 * 1024), 0);
  });
});
