// Calls through the address of its first argument with the client of browsers, and writes what it hears, one line for each.
global.XMLHttpRequest = require('xhr2');
const { GrpcWebClientBase, MethodDescriptor } = require('grpc-web');

const bytes = (text) => Uint8Array.from(Buffer.from(text));
const text = (message) => Buffer.from(message).toString();
const method = (name, kind) => new MethodDescriptor(name, kind, Object, Object, bytes, text);
const base = process.argv[2];

const unary = (client, name) => new Promise((resolve) => {
  client.rpcCall(base + name, 'hi', { 'x-own': 'a' }, method(name, 'unary'), (error, answer) => {
    resolve(error ? `error ${error.code} ${error.message}` : `answer ${answer}`);
  });
});

const stream = (client, name) => new Promise((resolve) => {
  const heard = [];
  const call = client.serverStreaming(base + name, 'hi', {}, method(name, 'server_streaming'));
  call.on('data', (message) => heard.push(message));
  call.on('error', (error) => resolve(`stream ${heard.join(',')} error ${error.code} ${error.message}`));
  call.on('end', () => resolve(`stream ${heard.join(',')} end`));
});

(async () => {
  for (const format of ['binary', 'text']) {
    const client = new GrpcWebClientBase({ format });
    for (const name of ['/shop.Cart/Add', '/shop.Cart/None', '/else.Thing/Do']) {
      console.log(format, await unary(client, name));
    }
  }
  const client = new GrpcWebClientBase({ format: 'text' });
  console.log(await stream(client, '/shop.Cart/Watch'));
  console.log(await stream(client, '/shop.Cart/Break'));
})();
