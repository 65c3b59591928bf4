// node validate.mjs NODE_MODULES DASHBOARD.json…
// Makes a JSON Schema of checked.ts with Grafana's published types, and validates each file against it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, ...files] = process.argv.slice(2);
const load = createRequire(join(modules, "package.json"));
const { createGenerator } = load("ts-json-schema-generator");
const { default: Ajv } = load("ajv");

const schema = createGenerator({
  path: join(modules, "checked.ts"),
  type: "CheckedDashboard",
  skipTypeCheck: true,
  strictTuples: true,
}).createSchema("CheckedDashboard");
const validate = new Ajv({ allErrors: true, allowUnionTypes: true, strict: false, discriminator: false }).compile(schema);
let failed = 0;
for (const file of files) {
  if (!validate(JSON.parse(readFileSync(file, "utf8")))) {
    failed += 1;
    for (const error of validate.errors) {
      console.error(`${file}: ${error.instancePath || "/"} ${error.message} ${JSON.stringify(error.params)}`);
    }
  }
}
console.log(`${files.length - failed} passed, ${failed} failed: ${Object.keys(schema.definitions).length} definitions`);
process.exit(failed ? 1 : 0);
