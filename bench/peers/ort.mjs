// ONNX Runtime beside fewbit: timing, and outputs to compare with.
//
//   node ort.mjs time model.onnx [--threads 1] [--seconds 2] [--default]
//   node ort.mjs run model.onnx --out DIR [--input FILE]... [--default] [--threads 1]
//
// `time` fills the inputs with fixed noise and prints one JSON line: median and minimum
// milliseconds. `run` reads each input of the model, in order, as raw little-endian elements from
// the given files, and writes DIR/<number>-<name>.raw for each output, with one JSON line about all
// of them. A symbolic first dim is what the file's length says, other symbolic dims count as 1.
//
// Integer networks run exactly (session.x64quantprecision=1) unless --default is given: the default
// kernels saturate 16-bit sums on CPUs with AVX2 but without VNNI.
import { readFileSync, writeFileSync, mkdirSync } from "node:fs";
import ort from "onnxruntime-node";

function parse(argv) {
  const o = { verb: argv[0], model: argv[1], inputs: [], threads: 1, seconds: 2, exact: true };
  for (let i = 2; i < argv.length; i++) {
    if (argv[i] === "--default") o.exact = false;
    else if (argv[i] === "--input") o.inputs.push(argv[++i]);
    else if (argv[i] === "--out") o.out = argv[++i];
    else if (argv[i] === "--threads") o.threads = Number(argv[++i]);
    else if (argv[i] === "--seconds") o.seconds = Number(argv[++i]);
    else throw new Error(`unknown option ${argv[i]}`);
  }
  if (!["time", "run"].includes(o.verb) || !o.model || (o.verb === "run" && !o.out))
    throw new Error("usage: ort.mjs time|run model.onnx [options]; see the head of the file");
  return o;
}

function options(o) {
  const session = { intra_op: { allow_spinning: "1" } };
  if (o.exact) session.x64quantprecision = "1";
  return {
    executionProviders: ["cpu"],
    intraOpNumThreads: o.threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    extra: { session },
  };
}

const arrays = {
  float32: Float32Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array,
  int16: Int16Array, int32: Int32Array, int64: BigInt64Array, bool: Uint8Array,
};

function feed(meta, file) {
  const dims = meta.shape.map((d) => (typeof d === "number" && d > 0 ? d : 1));
  const Type = arrays[meta.type];
  let n = dims.reduce((a, b) => a * b, 1);
  let data;
  if (file) {
    const bytes = readFileSync(file);
    if (dims.length && typeof meta.shape[0] !== "number") {
      dims[0] = Math.max(1, Math.floor(bytes.length / (n * Type.BYTES_PER_ELEMENT)));
      n *= dims[0];
    }
    data = new Type(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    if (data.length !== n) throw new Error(`${file}: ${data.length} elements, ${n} wanted`);
  } else {
    let state = 12345;
    data = Type.from({ length: n }, () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      const v = meta.type === "float32" ? (state >>> 8) / 8388608 - 1 : state >>> 24;
      return Type === BigInt64Array ? BigInt(v) : v;
    });
  }
  return new ort.Tensor(meta.type, data, dims);
}

const o = parse(process.argv.slice(2));
const session = await ort.InferenceSession.create(o.model, options(o));
const feeds = {};
session.inputMetadata.forEach((meta, i) => (feeds[meta.name] = feed(meta, o.inputs[i])));

if (o.verb === "run") {
  const results = await session.run(feeds);
  mkdirSync(o.out, { recursive: true });
  const list = session.outputNames.map((name, i) => {
    const t = results[name];
    const file = `${o.out}/${i}-${name.replace(/[^\w.-]/g, "_")}.raw`;
    writeFileSync(file, Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength));
    return { name, type: t.type, dims: t.dims, file };
  });
  console.log(JSON.stringify({ model: o.model, exact: o.exact, outputs: list }));
} else {
  const times = [];
  for (let i = 0; i < 3; i++) await session.run(feeds);
  const end = performance.now() + o.seconds * 1000;
  while (performance.now() < end || times.length < 5) {
    const start = performance.now();
    await session.run(feeds);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  console.log(JSON.stringify({
    model: o.model, threads: o.threads, exact: o.exact, runs: times.length,
    median_ms: Number(times[times.length >> 1].toFixed(4)), min_ms: Number(times[0].toFixed(4)),
  }));
}
