// `node bare-proxy.mjs URL`: the least that Node can do between a client and a service. The platform's limit.
import http from 'node:http';

const { hostname: host, port } = new URL(process.argv[2]);
const agent = new http.Agent({ keepAlive: true });
const server = http.createServer((request, response) => {
  http.get({ agent, host, port, path: request.url }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    answer.on('error', () => response.destroy());
    response.on('close', () => answer.destroy());
    answer.pipe(response);
  });
});
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
