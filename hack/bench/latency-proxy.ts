/** `node latency-proxy.ts URL MILLISECONDS`: a network that takes its time. In a process of its own, beside the client. */
import { S3Proxy } from '../../test/support/s3-proxy.ts';

const [target = '', latencyMs = '0'] = process.argv.slice(2);
const proxy = await S3Proxy.start(target);
proxy.latencyMs = Number(latencyMs);
console.log(`port ${new URL(proxy.endpoint).port}`);
