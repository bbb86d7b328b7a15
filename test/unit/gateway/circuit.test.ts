import assert from 'node:assert/strict';
import { type Attempt, Circuit, type CircuitState } from '../../../server/gateway/circuit.ts';

describe('a circuit', () => {
  let circuit: Circuit;
  let told: CircuitState[];
  beforeEach(() => {
    told = [];
    circuit = new Circuit((state) => told.push(state));
  });

  function admitted(): Attempt {
    const attempt = circuit.admit();
    assert.ok(attempt !== undefined);
    return attempt;
  }
  const open = () => {
    for (let failure = 0; failure < 3; failure++) admitted().failed();
  };
  /** Until it may be tried again. */
  const rest = async () => {
    while (circuit.state === 'open') await circuit.changed();
  };

  it('opens after some failures in a row, not after one', () => {
    admitted().failed();
    admitted().failed();
    admitted().succeeded();
    admitted().failed();
    admitted().failed();
    assert.equal(circuit.state, 'closed');
    admitted().failed();
    assert.equal(circuit.state, 'open');
    assert.equal(circuit.admit(), undefined);
    assert.deepEqual(told, ['open']);
  });

  it('lets one try after a rest, and closes when that succeeds', async () => {
    open();
    await rest();
    assert.equal(circuit.state, 'half-open');
    const probe = admitted();
    assert.equal(circuit.admit(), undefined);
    probe.succeeded();
    assert.equal(circuit.state, 'closed');
    admitted();
    assert.deepEqual(told, ['open', 'closed']);
  });

  it('rests again when that fails, and is silent about it', async () => {
    open();
    await rest();
    admitted().failed();
    assert.equal(circuit.state, 'open');
    assert.deepEqual(told, ['open']);
  });

  it('lets another one try when nobody waited for the first', async () => {
    open();
    await rest();
    admitted().dropped();
    admitted().succeeded();
    assert.equal(circuit.state, 'closed');
  });

  it('takes no notice of those who began before it opened', () => {
    const old = [admitted(), admitted()];
    open();
    for (const attempt of old) attempt.failed();
    assert.equal(circuit.state, 'open');
    assert.deepEqual(told, ['open']);
  });

  it('hears of an attempt once', async () => {
    open();
    await rest();
    const probe = admitted();
    probe.succeeded();
    probe.failed();
    probe.dropped();
    assert.equal(circuit.state, 'closed');
  });

  it('wakes those who wait when one of them knows more', async () => {
    open();
    await rest();
    const probe = admitted();
    const woken = Promise.all([circuit.changed(), circuit.changed()]);
    probe.succeeded();
    await woken;
  });
});
