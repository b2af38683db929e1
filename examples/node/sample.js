// Draws samples of a label, prints them as text, and scores them with the critic.
//
// A probability is that of a sample to be real data rather than this generator's. It means nothing for other pictures:
// `out_of_distribution` tells which are unlike the training data. Here it finds generated samples that went wrong.
//
//     npm install
//     node sample.js [LABEL [COUNT [SEED]]]
//
// It uses the server at GANSERVE_TARGET, or at localhost:50051, and the model GANSERVE_MODEL, or mnist:
// `ganserve serve --demo` is such a server. It reads the protos directly: no code is generated.

import {fileURLToPath} from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTOS = fileURLToPath(new URL("../../protos", import.meta.url));
const MODEL = process.env.GANSERVE_MODEL ?? "mnist";
const SHADES = " .:-=+*#%@";

// Fields keep their names in the protos. 64-bit integers, such as seeds, are strings, because a JavaScript number holds
// 53 bits.
const definition = protoLoader.loadSync("ganserve/v1/gan_service.proto", {
  includeDirs: [PROTOS],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
});
const {GanService} = grpc.loadPackageDefinition(definition).ganserve.v1;
const client = new GanService(
  process.env.GANSERVE_TARGET ?? "localhost:50051",
  grpc.credentials.createInsecure(),
);

function call(method, request) {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + 10_000);
    client[method](request, {deadline}, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// Turns uint8 [N, H, W, C] into text; the shade of a pixel is that of its first channel.
function* pictures({shape: [count, height, width, channels], data}) {
  for (let n = 0; n < count; n++) {
    const rows = [];
    for (let y = 0; y < height; y++) {
      let row = "";
      for (let x = 0; x < width; x++) {
        const value = data[((n * height + y) * width + x) * channels];
        row += SHADES[Math.floor((value * SHADES.length) / 256)].repeat(2);
      }
      rows.push(row);
    }
    yield rows.join("\n");
  }
}

// Says how typical a sample is of the training data; nothing if the package cannot tell.
function typicality({typicality: shares, out_of_distribution: unlike}, n) {
  if (shares.length === 0) return "";
  return `, typicality ${shares[n].toFixed(3)}${unlike[n] ? ", unlike the training data" : ""}`;
}

const [label, count = "4", seed] = process.argv.slice(2);
try {
  const request = {model: MODEL, count, encoding: "ENCODING_RAW", label_names: label === undefined ? [] : [label]};
  if (seed !== undefined) request.seed = seed;
  const drawn = await call("Sample", request);
  const scored = await call("Score", {
    model: drawn.model,
    version: drawn.version,
    samples: drawn.samples,
    label_names: drawn.label_names,
  });
  for (const [n, picture] of [...pictures(drawn.samples.tensor)].entries()) {
    const real = `real rather than generated: ${(100 * scored.probabilities[n]).toFixed(0)} %`;
    const score = `score ${scored.scores[n].toFixed(3)}, ${real}`;
    console.log(`${drawn.label_names[n] ?? "sample"}, ${score}${typicality(scored, n)}\n${picture}\n`);
  }
  console.log(`${drawn.model} version ${drawn.version}, seed ${drawn.seed}`);
} catch (error) {
  // The server's message names the field, the expected value and the fix.
  console.error(`${grpc.status[error.code] ?? "error"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
