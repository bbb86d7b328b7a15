import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { pino } from 'pino';
import { Budget } from '../../../server/shares/index.ts';
import { createDoor, placeFor } from '../../../server/wire/index.ts';

describe('a place for an answer', () => {
  it('is given back where its client leaves in the moment in which it comes free', async () => {
    const caller = { cache: 'main', client: 'x' };
    const budget = new Budget({ units: 1 });
    const first = budget.tryTake({ caller });
    const asked = Promise.withResolvers<ServerResponse>();
    const door = createDoor({ logger: pino({ enabled: false }), handle: (_, response) => asked.resolve(response) });
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
    const socket = connect((door.address() as AddressInfo).port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const response = await asked.promise;
    response.once('close', () => first?.release());
    const waiting = placeFor(budget, caller, response, 60_000);
    socket.destroy();
    assert.equal(await waiting, undefined);
    assert.deepEqual([budget.held, budget.waiting], [0, 0]);
    await new Promise((resolve) => door.close(resolve));
  });
});
