import assert from 'node:assert/strict';
import { clientNetwork } from '../../../server/wire/index.ts';

describe('what counts as one client', () => {
  const rows: [address: string, network: string][] = [
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    // What translates between the two: each address of IPv4 is a client of its own, however it is written.
    ['64:ff9b::192.0.2.1', '192.0.2.1'],
    ['64:ff9b::c000:201', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['64:ff9b:0:1::c000:201', '64:ff9b:0:1::/64'],
    ['2001:db8::192.0.2.1', '2001:db8:0:0::/64'],
    ['2001:0db8:0001:0002::ffff', '2001:db8:1:2::/64'],
    ['', ''],
    ['unknown', 'unknown'],
  ];
  for (const [address, network] of rows)
    it(`is ${network || 'nothing'} for ${address || 'nothing'}`, () => assert.equal(clientNetwork(address), network));

  it('is another one in another network', () => {
    assert.notEqual(clientNetwork('2001:db8:1:2::1'), clientNetwork('2001:db8:1:3::1'));
  });
});
