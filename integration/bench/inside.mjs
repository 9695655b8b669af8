// The plugin in V8 alone: a host that says just enough for a request to be translated and signed. What is left of a
// request's cost when Envoy, the network and the noise of everything else on the machine are taken away.
//
// An order comes in on stdin as JSON, and goes out on stdout with what was measured:
//   in   {wasm, configuration, environment: ["NAME=value"], seconds, cases: [{headers, body}]}   (body: a file)
//   out  [{whole_us, dry_us}]
// `whole_us` is the callback of the body that is signed and sent, `dry_us` that of the same with the header
// x-fairlead-dry-run, which is translated and shown, and not signed: the difference is the signature.

import fs from 'node:fs';

const ROOT = 1;
const OK = 0, NOT_FOUND = 1;
const REQUEST_BODY = 0, PLUGIN_CONFIGURATION = 7;
const REQUEST_HEADERS = 0;

const order = JSON.parse(fs.readFileSync(0, 'utf8'));

/** The ABI's form of headers: a count, all lengths, then names and values, each with a zero behind it. */
function pairs(headers) {
  const words = headers.flat().map((word) => Buffer.from(word));
  const lengths = Buffer.alloc(4 + 4 * words.length);
  lengths.writeUInt32LE(headers.length, 0);
  words.forEach((word, index) => lengths.writeUInt32LE(word.length, 4 + 4 * index));
  return Buffer.concat([lengths, ...words.flatMap((word) => [word, Buffer.alloc(1)])]);
}

/** What the plugin asks of its host. */
class Host {
  constructor(environment) {
    this.buffers = new Map();
    this.maps = new Map();
    this.properties = new Map([['plugin_root_id', Buffer.from('fairlead')]]);
    this.shared = new Map();
    this.environment = environment.map((line) => Buffer.from(`${line}\0`));
    this.metrics = 0;
    this.log = [];
    /** Who wants to see what the plugin sends, to the cloud or the client: its memory is another's after the call. */
    this.look = undefined;
  }

  attach(exports) {
    this.exports = exports;
  }

  /** The plugin's memory; another one whenever it has grown. */
  get memory() {
    if (this.bytes?.buffer !== this.exports.memory.buffer) {
      this.bytes = new Uint8Array(this.exports.memory.buffer);
      this.view = new DataView(this.exports.memory.buffer);
    }
    return this.bytes;
  }

  number(at, value) {
    this.memory;
    this.view.setUint32(at, value, true);
    return OK;
  }

  text(at, size) {
    return Buffer.from(this.memory.buffer, at, size).toString('latin1');
  }

  /** Hands bytes over, in memory that the plugin allocates. */
  give(bytes, data, size) {
    if (bytes === undefined) return NOT_FOUND;
    const at = bytes.length > 0 ? this.exports.malloc(bytes.length) : 0;
    this.memory.set(bytes, at);
    this.number(data, at);
    return this.number(size, bytes.length);
  }

  take(at, size) {
    return this.memory.slice(at, at + size);
  }

  imports() {
    const host = this;
    const env = {
      proxy_log: (_level, at, size) => (host.log.push(host.text(at, size)), OK),
      proxy_get_current_time_nanoseconds(at) {
        host.memory;
        host.view.setBigUint64(at, BigInt(Date.now()) * 1_000_000n, true);
        return OK;
      },
      proxy_get_buffer_bytes: (buffer, _start, _most, data, size) => host.give(host.buffers.get(buffer), data, size),
      proxy_set_buffer_bytes: (_buffer, _start, _length, at, size) => (host.look?.(host.take(at, size)), OK),
      proxy_get_header_map_pairs: (map, data, size) => host.give(host.maps.get(map), data, size),
      proxy_get_property: (at, length, data, size) => host.give(host.properties.get(host.text(at, length)), data, size),
      proxy_get_shared_data(key, length, data, size, stamp) {
        const known = host.shared.get(host.text(key, length));
        return known === undefined ? NOT_FOUND : host.number(stamp, known.stamp) || host.give(known.value, data, size);
      },
      proxy_set_shared_data(key, length, at, size) {
        const name = host.text(key, length);
        const stamp = (host.shared.get(name)?.stamp ?? 0) + 1;
        host.shared.set(name, { value: host.take(at, size), stamp });
        return OK;
      },
      proxy_define_metric: (_kind, _name, _length, metric) => host.number(metric, ++host.metrics),
      proxy_send_local_response: (_status, _details, _length, at, size) => (host.look?.(host.take(at, size)), OK),
    };
    const wasi = {
      environ_sizes_get: (count, size) =>
        host.number(count, host.environment.length) ||
        host.number(size, host.environment.reduce((sum, line) => sum + line.length, 0)),
      environ_get(pointers, at) {
        host.environment.forEach((line, index) => {
          host.number(pointers + 4 * index, at);
          host.memory.set(line, at);
          at += line.length;
        });
        return OK;
      },
    };
    const known = { env, wasi_snapshot_preview1: wasi };
    // What a request does not look at the outcome of is said to be done.
    return (module, name) => known[module]?.[name] ?? (() => OK);
  }
}

function start() {
  const module = new WebAssembly.Module(fs.readFileSync(order.wasm));
  const host = new Host(order.environment);
  const imported = host.imports();
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = imported(from, name);
  }
  const { exports } = new WebAssembly.Instance(module, imports);
  host.attach(exports);
  exports._initialize?.();
  const configuration = Buffer.from(order.configuration);
  host.buffers.set(PLUGIN_CONFIGURATION, configuration);
  exports.proxy_on_context_create(ROOT, 0);
  exports.proxy_on_vm_start(ROOT, 0);
  if (!exports.proxy_on_configure(ROOT, configuration.length)) throw new Error(host.log.join('\n'));
  return { host, exports };
}

const { host, exports } = start();
let stream = ROOT;

/** One request; how long its body took, in microseconds. */
function request(headers, body) {
  stream += 1;
  exports.proxy_on_context_create(stream, ROOT);
  host.maps.set(REQUEST_HEADERS, headers);
  exports.proxy_on_request_headers(stream, 0, false);
  host.buffers.set(REQUEST_BODY, body);
  const begun = process.hrtime.bigint();
  exports.proxy_on_request_body(stream, body.length, true);
  const took = process.hrtime.bigint() - begun;
  exports.proxy_on_log(stream);
  exports.proxy_on_done(stream);
  exports.proxy_on_delete(stream);
  return Number(took) / 1000;
}

/** The JSON that comes of a request. */
function outcome(headers, body) {
  let told;
  host.look = (bytes) => (told = JSON.parse(Buffer.from(bytes).toString()));
  request(headers, body);
  host.look = undefined;
  return told;
}

/** A tenth of the requests took less: what else runs on the machine only adds. */
function quiet(times) {
  return times.sort((a, b) => a - b)[Math.floor(times.length / 10)];
}

function measure({ headers, body: file }) {
  const body = fs.readFileSync(file);
  const [whole, dry] = [pairs(headers), pairs([...headers, ['x-fairlead-dry-run', 'true']])];
  if (JSON.stringify(outcome(whole, body)) !== JSON.stringify(outcome(dry, body).request?.body)) {
    throw new Error(`${file}: what is sent is not what is shown`);
  }
  // V8 begins with quickly made code and improves what runs often.
  for (const [seconds, keep] of [[order.seconds / 2, false], [order.seconds, true]]) {
    const times = [[], []];
    for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
      times[0].push(request(whole, body));
      times[1].push(request(dry, body));
    }
    if (keep) return { whole_us: quiet(times[0]), dry_us: quiet(times[1]) };
  }
}

console.log(JSON.stringify(order.cases.map(measure)));
